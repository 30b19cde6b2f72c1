"""What is found at one place, and what a layout of data has to provide."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from export.edge.pictures.kinds import describe_unread
from jax_impl.config.data import DataConfig
from jax_impl.data.pairs import Pair, Pictures, read_pair, reversed_pair
from jax_impl.data.splits import SPLITS, hold_out


@dataclass(frozen=True)
class Source:
    """The pairs at one place, by split, and how their pictures are read."""

    layout: str
    """Its name in SOURCES."""
    place: str = field(compare=False)
    """What the settings call the place: data.path, or the name of a prepared dataset."""
    splits: Mapping[str, tuple[Pair, ...]]
    """The pairs of `train`, `val` and `test`; a split without pairs is empty."""
    unmatched: tuple[Path, ...] = ()
    """Pictures that have no partner."""
    notes: tuple[str, ...] = ()
    """One line each about choices that were made, such as the pairs held out."""
    rendered: bool = False
    """Whether the pictures are computed at data.size, not stored: there is nothing to check and nothing to resize."""
    origin: str = ""
    """Something cheap that changes with the pictures; empty where that is the sizes of their files."""
    flags: str = field(default="", compare=False)
    """Of `jax_impl.doctor`, to find the same pairs there."""
    unread: tuple[Path, ...] = ()
    """Pictures of kinds that cannot be read here."""
    read: Callable[[Pair], Pictures] = field(default=read_pair, compare=False)
    """cond and x0 of a pair, each uint8 (height, width, 3), at their own sizes; called from several threads.

    Raises UserError for pictures that cannot be used.
    """

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Those of all splits."""
        return tuple(pair for members in self.splits.values() for pair in members)

    def fingerprint(self, split: str) -> str:
        """What the pictures of a split can be known by without decoding them."""
        if self.origin:
            return self.origin
        sizes = [each.path.stat().st_size for pair in self.splits[split] for each in pair.locators if each is not None]
        return hashlib.sha256(str(sizes).encode()).hexdigest()

    def remarks(self) -> tuple[str, ...]:
        """One line each on what a person who trains on it should know: held-out pairs, pictures left out."""
        count = len(self.unmatched)
        notes = (*self.notes, *([describe_unread(self.unread)] if self.unread else ()))
        if count == 0:
            return notes
        what = f"{count} picture{'s' if count > 1 else ''} without a partner left out, such as {self.unmatched[0]}"
        return (*notes, f"{what}; `python -m jax_impl.doctor {self.place}{self.flags}` lists all")


class Layout(Protocol):
    """An entry of SOURCES: one way in which pairs are stored."""

    def recognises(self, config: DataConfig) -> bool:
        """Whether the place that the settings name has this layout; asked where data.layout is `auto`.

        Raises UserError where it has this layout without any doubt, but is incomplete.
        """
        ...

    def open(self, config: DataConfig) -> Source:
        """Find the pairs, without decoding their pictures.

        Raises UserError, with the name of the setting and what to do, where that cannot be done.
        """
        ...


def make_source(
    layout: str,
    pairs: Sequence[Pair],
    config: DataConfig,
    *,
    read: Callable[[Pair], Pictures] = read_pair,
    origin: str = "",
    unmatched: Sequence[Path] = (),
    notes: Sequence[str] = (),
) -> Source:
    """The source of these pairs, split and in the direction that the settings ask for.

    The split that a pair names counts; where none names val, `config.val_share` of the training pairs is held out
    by hash of name, whole scenes at a time (see `splits.hold_out`).

    Args:
        layout: the name in SOURCES.
        pairs: all of them, from A to B.
        config: the settings of the data.
        read: the two pictures of one of `pairs`, A and B; by default its two files.
        origin: see `Source`.
        unmatched: pictures without a partner.
        notes: one line each about choices that were made.
    """
    splits = {split: [pair for pair in pairs if pair.split == split] for split in SPLITS}
    train = splits["train"]
    if train and not splits["val"] and config.val_share > 0.0:
        choice = hold_out(
            [pair.name for pair in train], [pair.scene for pair in train], [_files(p) for p in train], config.val_share
        )
        splits["train"] = [pair for i, pair in enumerate(train) if i not in choice.held]
        splits["val"] = [replace(pair, split="val") for i, pair in enumerate(train) if i in choice.held]
        notes = [*notes, choice.note]
    if config.direction == "reverse":
        splits = {split: [reversed_pair(pair) for pair in members] for split, members in splits.items()}
    return Source(
        layout,
        config.path,
        {split: tuple(members) for split, members in splits.items()},
        tuple(unmatched),
        tuple(notes),
        flags=" --folders " + " ".join(map(shlex.quote, config.folders)) if config.folders else "",
        origin=origin,
        read=read if config.direction == "forward" else _reversed_reader(read),
    )


def _reversed_reader(read: Callable[[Pair], Pictures]) -> Callable[[Pair], Pictures]:
    """Reads a pair of the other direction with a reader of the pairs as they were found."""

    def read_reversed(pair: Pair) -> Pictures:
        first, second = read(reversed_pair(pair))
        return second, first

    return read_reversed


def _files(pair: Pair) -> Sequence[Hashable]:
    """What makes two pairs share a picture."""
    return [each.path for each in pair.locators if each is not None]
