"""The two folders of pairs, in all the ways in which people lay them out, and the pictures in each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from export.edge.disk.names import folded, partners
from export.edge.errors import UserError
from export.edge.pictures.kinds import pictures_in, unread_in
from jax_impl.data.sources.places import by_stem, places, subfolders
from jax_impl.data.splits import SPLIT_NAMES, SPLITS

SIDES = (("a", "b"), ("source", "target"), ("sunrise", "sunset"), ("input", "output"))
"""Names of the two folders, in any letter case."""
Known: TypeAlias = tuple[tuple[str, str], ...]
"""Such names, all letters small."""

_WITH_SPLIT = re.compile(rf"({'|'.join(sorted(SPLIT_NAMES, key=len, reverse=True))})[ _-]?(.+)")
_SHOWN = 6
_INPUTS = ("morning", "dawn", "before", "day", "input", "source", "raw")
"""Words in the name of a folder that probably holds the inputs."""


@dataclass(frozen=True)
class Sides:
    """The two folders of a split; None where the folders do not say which."""

    split: str | None
    left: Path
    right: Path


def find_sides(root: Path, names: Sequence[str] = ()) -> tuple[list[Sides], list[str]]:
    """The pairs of folders at `root`, and notes on what is left out.

    These are A/ and B/ (or other names of SIDES) in train/, val/ and test/, or in `root` itself; train/, val/ and test/
    in A/ and B/; or trainA/ and trainB/, train_A/ and train_B/ and so on. With `names`, of inputs and of targets, only
    folders of these names count. Raises UserError where one of two is missing.
    """
    known: Known = ((folded(names[0]), folded(names[1])),) if names else SIDES
    named = [(split, _named(place, known)) for split, place in places(root)]
    found = [Sides(split, *both) for split, both in named if both is not None]
    notes = []
    if len(found) > 1 and found[-1].split is None:
        notes.append(f"{root} has split folders; the pairs next to them are left out")
        found.pop()
    if not found:
        found = _with_split_in_name(root, known)
    return [inner for sides in found for inner in _splits_inside(sides)], notes


def collect(folder: Path) -> tuple[dict[str, Path], list[Path]]:
    """The pictures of one side by name without suffix, and those that cannot be read.

    Where there are none in the folder itself, those in folders inside count, such as one for each scene, each
    named by its path from `folder`: `church/02`. Raises UserError where two have the same name.
    """
    found, unread = by_stem(folder), unread_in(folder)
    if found:
        return found, unread
    for inner in subfolders(folder):
        deeper, left = collect(inner)
        found |= {f"{inner.name}/{name}": path for name, path in deeper.items()}
        unread += left
    return found, unread


def describe_place(root: Path) -> str:
    """What there is at a place without pairs, and the command that makes pairs of two folders; or nothing."""
    folders = [(folder, {path.stem for path in pictures_in(folder)}) for folder in subfolders(root)]
    folders = [(folder, names) for folder, names in folders if names]
    if not folders:
        return ""
    shown = ", ".join(f"{folder.name}/ ({len(names)} pictures)" for folder, names in folders[:_SHOWN])
    more = f" and {len(folders) - _SHOWN} more folders" if len(folders) > _SHOWN else ""
    line = f"; it has {shown}{more}"
    if len(folders) == 2 and (count := len(partners(folders[0][1], folders[1][1]))):
        a, b = sorted((folder.name for folder, _ in folders), key=lambda name: not _is_like_input(name))
        line += (
            f', with {count} names in common: read them with --data.folders "{a}" "{b}", inputs first (of doctor and '
            f'prepare: --folders), or rename them: `cd "{root}" && mv "{a}" A && mv "{b}" B`'
        )
    return line


def _is_like_input(name: str) -> bool:
    return any(word in name.lower() for word in _INPUTS)


def _splits_inside(sides: Sides) -> list[Sides]:
    """The splits in both folders, where these hold no pictures of their own."""
    if sides.split is not None or pictures_in(sides.left) or pictures_in(sides.right):
        return [sides]
    left, right = ({split: place for split, place in places(side) if split} for side in (sides.left, sides.right))
    if lonely := left.keys() ^ right.keys():
        split = next(split for split in SPLITS if split in lonely)
        there, lacking = (sides.left, sides.right) if split in left else (sides.right, sides.left)
        raise UserError(f"{there} has a folder for the {split} split and {lacking} has none; put both pictures there")
    return [Sides(split, left[split], right[split]) for split in SPLITS if split in left] or [sides]


def _with_split_in_name(root: Path, known: Known) -> list[Sides]:
    """Folders such as trainA/ and trainB/, or val_sunrise/ and val_sunset/."""
    there: dict[tuple[str, str], Path] = {}
    for folder in subfolders(root):
        match = _WITH_SPLIT.fullmatch(folded(folder.name))
        if match and any(match[2] in names for names in known):
            key = SPLIT_NAMES[match[1]], match[2]
            if (other := there.setdefault(key, folder)) != folder:
                raise UserError(f"{root} has both {other.name}/ and {folder.name}/; merge them")
    found = []
    for split in SPLITS:
        for names in known:
            both = [there.get((split, name)) for name in names]
            if both[0] is not None and both[1] is not None:
                found.append(Sides(split, both[0], both[1]))
            elif one := both[0] or both[1]:
                raise UserError(f"{root} has {one.name}/ but no folder of the other pictures beside it; add it")
    return found


def _named(place: Path, known: Known) -> tuple[Path, Path] | None:
    """The two folders of pairs in `place`, or None; raises UserError where only one is there."""
    folders = subfolders(place)
    complete: list[tuple[Path, Path]] = []
    lonely: list[tuple[Path, str]] = []
    for names in known:
        found = [_called(name, folders) for name in names]
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


def _called(name: str, folders: Sequence[Path]) -> list[Path]:
    return [folder for folder in folders if folded(folder.name) == name]
