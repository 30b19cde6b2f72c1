"""Pairs to train on: in memory, or read as they are needed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from tqdm import tqdm

from export.edge.errors import UserError
from export.edge.pictures.arrays import fit_square
from export.edge.progress import Progress
from jax_impl.config.data import DataConfig
from jax_impl.data.bad_pairs import check_share, is_bad, replace_bad, replacing_bad
from jax_impl.data.pairs import Pair, Pictures, where
from jax_impl.data.sources.registry import open_source
from jax_impl.data.sources.source import Source
from jax_impl.data.splits import Split

MAX_PAIRS_BYTES = 16 * 2**30
"""Pictures that have to be in memory all at once: more than this is refused before anything is read."""
MIN_PICTURE_SIDE = 8
_THREADS = 2
_BAR_FROM = 200


@dataclass(frozen=True)
class Pairs:
    """All pairs of a split, decoded and square."""

    names: tuple[str, ...]
    """Of what the arrays hold: a pair that replaces a bad one is there twice."""
    cond: np.ndarray
    """uint8 (pairs, size, size, 3)"""
    x0: np.ndarray
    """uint8 (pairs, size, size, 3)"""


@dataclass(frozen=True)
class LazyPairs:
    """All pairs of a split, each decoded when it is asked for, from any thread."""

    names: tuple[str, ...]
    size: int
    read: Callable[[int], Pictures]
    """cond and x0 at a position, each uint8 (size, size, 3); raises UserError for a picture that cannot be used."""
    origin: Callable[[], str]
    """Something cheap to know the data by without decoding it, such as the sizes of its files."""
    verb: str = "reading"
    is_bad: Callable[[int, UserError], bool] = lambda position, error: False
    """Whether an error that `read` raised at a position lies in what the pictures are: another pair may replace it."""
    max_bad_share: float = 0.0
    """Of the pairs, how many may be bad."""
    threads: int = _THREADS
    """How many may call `read` at the same time and gain by it."""

    @property
    def bytes(self) -> int:
        """What all of it takes, decoded."""
        return 2 * len(self.names) * self.size * self.size * 3


def lazy_pairs(source: Source, config: DataConfig, split: Split) -> LazyPairs:
    """The pairs of a split as squares; a `val` or `test` split may be empty.

    Raises UserError where the training split is empty.
    """
    pairs = source.splits[split]
    if not pairs and split == "train":
        others = ", ".join(name for name, members in source.splits.items() if members)
        raise UserError(
            f"data.path {source.place} has pairs for {others} but none for train; add some, or drop the split"
        )
    return LazyPairs(
        tuple(pair.name for pair in pairs),
        config.size,
        lambda i: squares(source, pairs[i], config),
        lambda: source.fingerprint(split),
        "rendering" if source.rendered else "reading",
        is_bad=lambda i, error: split == "train" and not source.rendered and is_bad(pairs[i], error),
        max_bad_share=config.max_bad_share,
        # Scenes are rendered in many short calls of numpy, and threads wait for each other between them.
        threads=1 if source.rendered else _THREADS,
    )


def open_pairs(source: Source, config: DataConfig) -> Pairs | LazyPairs:
    """The training pairs: decoded, where they take at most `config.in_memory_mb`, else to be read as they are needed.

    Either way batches are the same. Raises UserError as `lazy_pairs` and `decode` do.
    """
    pairs = lazy_pairs(source, config, "train")
    return pairs if pairs.bytes > config.in_memory_mb * 2**20 else decode(pairs)


def open_held_out_pairs(source: Source, config: DataConfig) -> Pairs:
    """At most `config.max_val_pairs` of the validation pairs, spread evenly over them, decoded."""
    pairs = lazy_pairs(source, config, "val")
    count, most = len(pairs.names), config.max_val_pairs
    if count <= most:
        return decode(pairs)
    chosen = [i * count // most for i in range(most)]
    return decode(replace(pairs, names=tuple(pairs.names[i] for i in chosen), read=lambda i: pairs.read(chosen[i])))


def load(config: DataConfig, split: Split) -> Pairs:
    """Open the data, decode every pair of a split and make it square by `config.fit`.

    A `val` or `test` split without pairs gives empty arrays. In `train`, up to
    `config.max_bad_share` of the pairs may hold a picture that cannot be decoded or is
    smaller than 8 pixels on a side; the next good pair replaces each. Raises UserError
    where more do, or any elsewhere, pairs cannot be found, a file cannot be read, the
    training split is empty, or the arrays would not fit in memory.
    """
    return decode(lazy_pairs(open_source(config), config, split))


def decode(pairs: LazyPairs) -> Pairs:
    """All of the pairs in memory, read on as many threads as help.

    Raises UserError where they would not fit, or too many cannot be used.
    """
    names, size = pairs.names, pairs.size
    count = len(names)
    needed = 2 * count * size * size * 3
    if needed > MAX_PAIRS_BYTES:
        raise UserError(
            f"{count} pairs at data.size {size} need {needed / 2**30:.1f} GiB of memory, more than the "
            f"{MAX_PAIRS_BYTES / 2**30:.0f} GiB that are allowed; choose a smaller data.size or fewer pairs"
        )
    cond, x0 = (np.empty((count, size, size, 3), np.uint8) for _ in range(2))

    bad: dict[int, UserError] = {}

    def place(i: int) -> UserError | None:
        try:
            cond[i], x0[i] = pairs.read(i)
        except UserError as error:
            if not pairs.is_bad(i, error):
                raise
            return error
        return None

    quiet = count < _BAR_FROM or not sys.stderr.isatty()
    lines = None if sys.stderr.isatty() else Progress(noun="pair")
    with ThreadPoolExecutor(pairs.threads) as pool:
        try:
            placed = tqdm(pool.map(place, range(count)), pairs.verb, count, disable=quiet, unit="pair", leave=False)
            for i, error in enumerate(placed):
                if lines is not None:
                    lines.update(i + 1, count)
                if error is not None:
                    bad[i] = error
                    check_share(names, bad, pairs.max_bad_share)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return Pairs(replace_bad(names, cond, x0, bad), cond, x0)


def tolerant(pairs: LazyPairs) -> LazyPairs:
    """The same pairs, where the next good one replaces each that is bad, as `decode` has it."""
    return replace(pairs, read=replacing_bad(pairs.names, pairs.read, pairs.is_bad, pairs.max_bad_share))


def squares(source: Source, pair: Pair, config: DataConfig) -> Pictures:
    """Both pictures of a pair as uint8 (size, size, 3); raises UserError for one that is too small or no picture."""
    pictures = source.read(pair)
    for side, (picture, locator) in enumerate(zip(pictures, pair.locators, strict=True)):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise UserError(
                f"{where(pair, side)} is {picture.dtype} {picture.shape}: the reader of layout {source.layout} has to "
                "return uint8 (height, width, 3)"
            )
        height, width = picture.shape[:2]
        if min(height, width) < MIN_PICTURE_SIDE:
            half = locator is not None and locator.half
            what = f"the {half} half of {locator.path}" if locator is not None and half else where(pair, side)
            raise UserError(
                f"{what} is {width} by {height} pixels, too small to learn from; remove the pair, or replace it by one "
                f"of at least {MIN_PICTURE_SIDE} pixels on each side"
            )
    cond, x0 = (fit_square(picture, config.size, config.fit) for picture in pictures)
    return cond, x0
