"""Which pairs are held out, so that training and validation do not show the same scene."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

from export.edge.errors import UserError

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
SPLIT_NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Every spelling of a split that folders and manifests may use, in lower case."""

MIN_SCENES_TO_HOLD_OUT = 3
"""Below this many scenes, holding one out would cost too much of the training data."""

_DATE = re.compile(r"(?:19|20)\d\d([-_.]?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12]\d|3[01])(?!\d)")
_COUNTER = re.compile(r"[\s_.()\-]*\d+[\s)]*$")


@dataclass(frozen=True)
class HoldOut:
    """The positions held out for validation, and one line that says how they were chosen."""

    held: frozenset[int]
    note: str


def scene_of(stem: str) -> str:
    """The part of a file's stem that its scene shares: up to a date, or before the frame counter.

    `church_square_03` -> `church_square`, `2023-06-13T12_25_28` -> `2023-06-13`; a bare
    number has no scene and gives the empty string.
    """
    date = _DATE.search(stem)
    return stem[: date.end()] if date else _COUNTER.sub("", stem)


def split_name(value: str, where: str) -> str:
    """`train`, `val` or `test` for any accepted spelling; raises UserError for another word."""
    name = SPLIT_NAMES.get(value.strip().lower())
    if name is None:
        raise UserError(f"{where}: split is {value!r}; write train, val or test")
    return name


def hold_out(names: Sequence[str], scenes: Sequence[str], files: Sequence[Sequence[Hashable]], share: float) -> HoldOut:
    """Choose about `share` of the pairs for validation, by hash of name, whole groups at a time.

    Pairs that have a file or a scene in common are one group. Where that leaves fewer
    than three groups, only common files bind. The choice depends on names alone, not on
    their order, and takes at least one pair where there are two or more.

    Args:
        names: one unique name per pair.
        scenes: the scene of each pair; the empty string for none.
        files: the files of each pair, in any form that can be compared.
        share: wanted share of pairs, 0 to below 1.
    """
    count = len(names)
    if share <= 0.0 or count < 2:
        return HoldOut(frozenset(), "no pairs are held out for validation")
    named = [f"scene {scene}" for scene in scenes]
    groups = _groups(count, lambda i: [named[i], *files[i]])
    if by_scene := len(groups) >= MIN_SCENES_TO_HOLD_OUT and all(scenes):
        why = "told apart by file name, so that validation shows unseen scenes"
    else:
        groups = _groups(count, lambda i: files[i])
        why = "file names do not tell scenes apart: validation may share scenes with training"
        if len(groups) == 1:
            groups = [[i] for i in range(count)]
            why = "all are linked by common pictures: validation shares pictures with training"

    def rank(group: list[int]) -> bytes:
        return hashlib.sha256(min(names[i] for i in group).encode()).digest()

    wanted = max(1, round(share * count))
    limit = min(math.ceil(1.5 * wanted), count - 1)
    held: list[int] = []
    taken = 0
    for group in sorted(groups, key=rank):
        if len(held) < wanted and len(held) + len(group) <= limit:
            held += group
            taken += 1
    if not held:
        held = min(groups, key=lambda group: (len(group), rank(group)))
        taken = 1
    scenes_too = f", {taken} of {len(groups)} scenes" if by_scene else ""
    return HoldOut(frozenset(held), f"held out {len(held)} of {count} pairs{scenes_too} ({why})")


def _groups(count: int, labels: Callable[[int], Sequence[Hashable]]) -> list[list[int]]:
    """Positions 0..count-1 joined where they have a label in common (union-find)."""
    parent = list(range(count))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[Hashable, int] = {}
    for i in range(count):
        for label in labels(i):
            parent[root(i)] = root(first.setdefault(label, i))
    groups: dict[int, list[int]] = {}
    for i in range(count):
        groups.setdefault(root(i), []).append(i)
    return list(groups.values())
