"""Pictures whose left half is the source and whose right half is the target."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from export.edge.disk.names import as_text
from export.edge.errors import UserError
from export.edge.pictures.files import open_picture
from export.edge.pictures.kinds import pictures_in, unread_in
from jax_impl.config.data import DataConfig
from jax_impl.data.pairs import Locator, Pair
from jax_impl.data.sources.places import by_stem, places, root_of, unread_hint
from jax_impl.data.sources.source import Source, make_source
from jax_impl.data.splits import scene_of

_LOOK_AT = 8
_SEAM = 2.0
"""How much sharper than its surroundings the border between two halves is."""


class SideBySideLayout:
    """Recognised by a seam down the middle of the pictures."""

    def recognises(self, config: DataConfig) -> bool:
        """Whether most of some pictures have two halves; raises UserError where there are only other pictures."""
        root = root_of(config, file=True)
        if root.is_file():
            raise UserError(
                f"data.path {root} is a file but no manifest; name a folder, or a .csv, .tsv, .json or .jsonl file"
            )
        pictures = [picture for _, place in places(root) for picture in pictures_in(place)]
        if not pictures:
            return False
        looked = pictures[:: -(-len(pictures) // _LOOK_AT)]
        if 2 * sum(_has_two_halves(picture) for picture in looked) >= len(looked):
            return True
        raise UserError(
            f"data.path {root} holds pictures that do not look like two halves side by side, such as "
            f"{pictures[0].name}; sort them into A/ and B/, write a manifest, or insist with layout side-by-side"
        )

    def open(self, config: DataConfig) -> Source:
        """The pictures in train/, val/ and test/, or else those in the folder itself."""
        root = root_of(config, "side-by-side")
        used = [(split, place, pictures_in(place)) for split, place in places(root)]
        used = [(split, place, pictures) for split, place, pictures in used if pictures]
        notes = []
        if len(used) > 1 and used[-1][0] is None:
            notes.append(f"{root} has split folders; the {len(used[-1][2])} pictures next to them are left out")
            used.pop()
        if not used:
            raise UserError(
                f"data.path {root} holds no pictures; put side-by-side pictures there or into train/ and val/"
                + unread_hint(*(place for _, place in places(root)))
            )
        pairs = [
            Pair(stem, split or "train", scene_of(stem), Locator(path, "left"), Locator(path, "right"))
            for split, place, _ in used
            for stem, path in ((as_text(stem), path) for stem, path in by_stem(place).items())
        ]
        unread = tuple(path for _, place, _ in used for path in unread_in(place))
        return replace(make_source("side-by-side", pairs, config, notes=notes), unread=unread)


def _has_two_halves(path: Path) -> bool:
    """Whether a picture is two squares wide, or is wide and has a seam down its middle."""
    try:
        picture = open_picture(path).astype(np.float32)
    except UserError:
        return False
    height, width = picture.shape[:2]
    if width == 2 * height:
        return True
    if width <= height:
        return False
    steps = np.abs(np.diff(picture, axis=1)).mean(axis=(0, 2))
    middle, reach = (width - 1) // 2, max(4, width // 8)
    first = middle - width % 2  # an odd width has a spare column between the halves
    near = np.concatenate([steps[max(0, first - reach) : first], steps[middle + 1 : middle + 1 + reach]])
    seam, usual = steps[first : middle + 1].max(), np.quantile(near, 0.9) if near.size else 0.0
    return bool(seam > _SEAM * max(float(usual), 1.0))
