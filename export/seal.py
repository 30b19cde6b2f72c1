"""A model file that another tool changed, such as a simplifier: compared with the original, and sealed again."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from export.edge.disk.reading import read_bytes
from export.edge.errors import UserError
from export.edge.model.artifact import Artifact, open_artifact, open_network
from export.edge.model.layout import ours, variants
from export.edge.model.sealed import MOST_MODEL_BYTES, seal
from export.edge.sampling.tables import write_tables
from export.scoring import draw

SEAL_BAR = 2
"""Largest difference of a picture from the original's, levels of 255."""
_FUNCTIONS = ("denoise", "others")
"""Fields of an opened model in which no two are the same."""


def reseal(folder: Path, file: Path, pictures: Sequence[np.ndarray], threads: int | None = None) -> tuple[str, int]:
    """Seal a changed model file whose pictures are those of a variant of the artifact in `folder`.

    pictures: guiding pictures, uint8 (side, side, 3). Returns the nearest variant and the largest difference from it,
    levels of 255. Raises UserError, and leaves the file as it is, where no variant is within SEAL_BAR, for other
    settings or weights than the artifact's, for one of the artifact's own files, and for what `open_artifact` refuses.
    """
    names = {folder / name for name in ours(folder)}
    if any(path.exists() and path.samefile(file) for path in names if file.exists()):
        raise UserError(
            f"--seal {file} is a file of the artifact itself, which it would be compared with; get the artifact again, "
            "and keep the changed file in another place"
        )
    originals = {name: open_artifact(folder, threads, variant=name) for name in variants(folder)}
    changed = _opened(file, next(iter(originals.values())), threads)
    drawn = [draw(changed, picture, seed).picture.astype(int) for seed, picture in enumerate(pictures)]
    levels = {}
    for name, model in originals.items():
        wanted = [draw(model, picture, seed).picture for seed, picture in enumerate(pictures)]
        levels[name] = max(int(np.abs(a - b).max()) for a, b in zip(drawn, wanted, strict=True))
    nearest = min(levels, key=lambda name: levels[name])
    if levels[nearest] > SEAL_BAR:
        raise UserError(
            f"{file} makes other pictures than the artifact: {levels[nearest]} of 255 levels from {nearest}, more than "
            f"{SEAL_BAR}; make it again from a file of the artifact"
        )
    seal(file)
    return nearest, levels[nearest]


def _opened(file: Path, original: Artifact, threads: int | None) -> Artifact:
    """The changed file as a model, by a sealed copy of it."""
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / file.name
        copy.write_bytes(read_bytes(file, "model", MOST_MODEL_BYTES))
        try:
            seal(copy)
            changed = open_network(copy, threads)
        except UserError as error:
            raise UserError(str(error).replace(str(copy), str(file))) from error
    for field in fields(Artifact):
        if field.name not in _FUNCTIONS and not _same(getattr(changed, field.name), getattr(original, field.name)):
            raise UserError(
                f"{file} has another {field.name} than the artifact; make it again from a file of the artifact"
            )
    return replace(changed, codec=original.codec, others=original.others)


def _same(one: Any, other: Any) -> bool:
    """Whether two settings are the same: numbers, texts, a schedule or tables."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return write_tables(one) == write_tables(other)
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    return one == other
