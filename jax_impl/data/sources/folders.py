"""Two folders of pictures, matched by stem."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from export.edge.disk.names import as_text, partners
from export.edge.errors import UserError
from export.edge.pictures.kinds import unread_in
from jax_impl.config.data import DataConfig
from jax_impl.data.pairs import Locator, Pair
from jax_impl.data.sources.places import by_stem, places, root_of, subfolders, unread_hint
from jax_impl.data.sources.source import Source, make_source
from jax_impl.data.splits import scene_of

SIDES = (("a", "b"), ("source", "target"), ("sunrise", "sunset"), ("input", "output"))
"""Names of the two folders, in any letter case."""


class FolderLayout:
    """Recognised by the names of two folders."""

    def recognises(self, config: DataConfig) -> bool:
        """Whether there is a pair of folders; raises UserError where one of the two is missing."""
        root = root_of(config, file=True)
        return root.is_dir() and any(_sides(place) for _, place in places(root))

    def open(self, config: DataConfig) -> Source:
        """The pairs in train/, val/ and test/, or else those in the folder itself."""
        root = root_of(config, "folders")
        sides = [(split, _sides(place)) for split, place in places(root)]
        used = [(split, both) for split, both in sides if both is not None]
        notes = []
        if len(used) > 1 and used[-1][0] is None:
            notes.append(f"{root} has split folders; the pairs next to them are left out")
            used.pop()
        if not used:
            names = " or ".join(f"{a}/ and {b}/" for a, b in SIDES)
            raise UserError(f"data.path {root} has no pair of folders; put the pictures into {names}")
        pairs: list[Pair] = []
        unmatched: list[Path] = []
        apart: list[tuple[Path, Path]] = []
        for split, both in used:
            left, right = (by_stem(folder) for folder in both)
            matched = partners(left.keys(), right.keys())
            pairs += [
                Pair(as_text(a), split or "train", scene_of(as_text(a)), Locator(left[a]), Locator(right[b]))
                for a, b in sorted(matched.items())
            ]
            apart += [(left[a], right[b]) for a, b in sorted(matched.items()) if a != b]
            unmatched += [left[s] for s in sorted(left.keys() - matched.keys())]
            unmatched += [right[s] for s in sorted(right.keys() - set(matched.values()))]
        if not pairs:
            raise _no_pairs(root, used[0][1], unmatched)
        if apart:
            what = f"{len(apart)} pair{'s' if len(apart) > 1 else ''} matched, such as {apart[0][0]} and {apart[0][1]}"
            notes.append(f"{what}: their names differ in letter case, Unicode form or encoding alone")
        unread = tuple(path for _, both in used for folder in both for path in unread_in(folder))
        return replace(make_source("folders", pairs, config, unmatched=unmatched, notes=notes), unread=unread)


def _no_pairs(root: Path, both: tuple[Path, Path], unmatched: list[Path]) -> UserError:
    a, b = both
    if unmatched:
        return UserError(
            f"none of the {len(unmatched)} pictures in {root} has a partner, such as {unmatched[0]}; give both "
            f"pictures of a pair the same name in {a.name}/ and {b.name}/{unread_hint(a, b)}"
        )
    what = f"{a} and {b} hold no pictures; put the pairs there, both of a pair with the same name"
    return UserError(what + unread_hint(a, b))


def _sides(place: Path) -> tuple[Path, Path] | None:
    """The two folders of pairs in `place`, or None; raises UserError where only one is there."""
    folders = subfolders(place)
    complete: list[tuple[Path, Path]] = []
    lonely: list[tuple[Path, str]] = []
    for names in SIDES:
        found = [[folder for folder in folders if folder.name.lower() == name] for name in names]
        if twice := next((each for each in found if len(each) > 1), None):
            raise UserError(f"{place} has both {twice[0].name}/ and {twice[1].name}/; keep one of them")
        if all(found):
            complete.append((found[0][0], found[1][0]))
        elif any(found):
            lonely.append((found[0][0], names[1]) if found[0] else (found[1][0], names[0]))
    if len(complete) > 1:
        several = ", ".join(f"{a.name}/{b.name}" for a, b in complete)
        raise UserError(f"{place} has several pairs of folders ({several}); keep one, or write a manifest")
    if not complete and lonely:
        folder, partner = lonely[0]
        partner = partner.upper() if folder.name.isupper() else partner
        raise UserError(f"{place} has {folder.name}/ but no {partner}/; put the other picture of each pair there")
    return complete[0] if complete else None
