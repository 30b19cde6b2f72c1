"""Decoded pairs in memory, and which of them make up each batch."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
from tqdm import tqdm

from export.edge.errors import UserError
from export.edge.pictures import fit_square
from jax_impl.config import DataConfig
from jax_impl.data.bad_pairs import check_share, is_bad, stand_in
from jax_impl.data.pairs import Pair, find_pairs, read_pair
from jax_impl.data.synthetic import render_pair, scene_seed

Split = Literal["train", "val", "test"]
SYNTHETIC = "synthetic"
"""The `path` that stands for the built-in scenes."""
MAX_BYTES = 16 * 2**30
"""Decoded pictures stay in memory; more than this is refused before anything is read."""
SMALLEST_SIDE = 8
_THREADS = 2
_BAR_FROM = 200


@dataclass(frozen=True)
class Pairs:
    """All pairs of a split, decoded and square."""

    names: tuple[str, ...]
    """Of what the arrays hold: a pair that stands in for a bad one is there twice."""
    cond: np.ndarray
    """uint8 (pairs, size, size, 3)"""
    x0: np.ndarray
    """uint8 (pairs, size, size, 3)"""


def load(config: DataConfig, split: Split) -> Pairs:
    """Decode every pair of a split and make it square by `config.fit`.

    A `val` or `test` split without pairs gives empty arrays. In `train`, up to
    `config.max_bad_share` of the pairs may hold a picture that cannot be decoded or is
    smaller than 8 pixels on a side; the next good pair stands in for each. Raises UserError
    where more do, or any elsewhere, pairs cannot be found, a file cannot be read, the
    training split is empty, or the arrays would not fit in memory.
    """
    if config.path == SYNTHETIC:
        count = config.synthetic_pairs if split == "train" else config.synthetic_val_pairs
        seeds = [scene_seed(split, index) for index in range(count)]
        names = tuple(f"{split}_{index:05d}" for index in range(count))
        return _fill(names, config.size, lambda i: render_pair(seeds[i], config.size), "rendering")
    source = find_pairs(config)
    pairs = source.splits[split]
    if not pairs and split == "train":
        others = ", ".join(name for name, members in source.splits.items() if members)
        raise UserError(
            f"data.path {config.path} has pairs for {others} but none for train; add some, or drop the split"
        )

    def decode(i: int) -> tuple[np.ndarray, np.ndarray] | UserError:
        try:
            return squares(pairs[i], config)
        except UserError as error:
            if split == "train" and is_bad(pairs[i], error):
                return error
            raise

    return _fill(tuple(pair.name for pair in pairs), config.size, decode, "reading", config.max_bad_share)


def remarks(config: DataConfig) -> tuple[str, ...]:
    """One line each on what a person who starts a training run should know: held-out pairs, pictures left out."""
    if config.path == SYNTHETIC:
        return ()
    source = find_pairs(config)
    count = len(source.unmatched)
    if count == 0:
        return source.notes
    what = f"{count} picture{'s' if count > 1 else ''} without a partner left out, such as {source.unmatched[0]}"
    return (*source.notes, f"{what}; `python -m jax_impl.doctor {config.path}` lists all")


def squares(pair: Pair, config: DataConfig) -> tuple[np.ndarray, np.ndarray]:
    """Both pictures of a pair as uint8 (size, size, 3); raises UserError for one that is too small."""
    pictures = read_pair(pair)
    for picture, locator in zip(pictures, (pair.cond, pair.x0), strict=True):
        height, width = picture.shape[:2]
        if min(height, width) < SMALLEST_SIDE:
            what = f"the {locator.half} half of {locator.path}" if locator.half else str(locator.path)
            raise UserError(
                f"{what} is {width} by {height} pixels, too small to learn from; remove the pair, or replace it by one "
                f"of at least {SMALLEST_SIDE} pixels on each side"
            )
    cond, x0 = (fit_square(picture, config.size, config.fit) for picture in pictures)
    return cond, x0


def _fill(
    names: tuple[str, ...],
    size: int,
    make: Callable[[int], tuple[np.ndarray, np.ndarray] | UserError],
    verb: str,
    max_bad_share: float = 0.0,
) -> Pairs:
    """Both arrays, filled by `make(index)` on two threads; an error that it returns is that of a bad pair."""
    count = len(names)
    needed = 2 * count * size * size * 3
    if needed > MAX_BYTES:
        raise UserError(
            f"{count} pairs at data.size {size} need {needed / 2**30:.1f} GiB of memory, more than the "
            f"{MAX_BYTES / 2**30:.0f} GiB that are allowed; choose a smaller data.size or fewer pairs"
        )
    cond, x0 = (np.empty((count, size, size, 3), np.uint8) for _ in range(2))

    bad: dict[int, UserError] = {}

    def place(i: int) -> UserError | None:
        made = make(i)
        if isinstance(made, UserError):
            return made
        cond[i], x0[i] = made
        return None

    quiet = count < _BAR_FROM or not sys.stderr.isatty()
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            placed = tqdm(pool.map(place, range(count)), verb, count, disable=quiet, unit="pair", leave=False)
            for i, error in enumerate(placed):
                if error is not None:
                    bad[i] = error
                    check_share(names, bad, max_bad_share)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return Pairs(stand_in(names, cond, x0, bad), cond, x0)


def steps_per_epoch(pairs: int, repeats: int, batch_size: int) -> int:
    """Full batches in an epoch that shows each pair `repeats` times; at least 1."""
    return max(1, pairs * repeats // batch_size)


def batch_indices(seed: int, step: int, pairs: int, repeats: int, batch_size: int) -> np.ndarray:
    """Positions of the pairs that make up batch `step`: int32 (batch_size,).

    A pure function of its arguments, so that a resumed run carries on with the same
    batches. An epoch is `repeats` shuffles of all pairs, one after the other, cut into
    batches; what is left over at its end is dropped. Where an epoch is smaller than one
    batch, further shuffles fill it.

    Args:
        seed: 0 to 2**64 - 1.
        step: batches since training began, from 0.
    """
    if pairs < 1:
        raise UserError("there are no pairs to make a batch of; add some to the training split")
    steps = steps_per_epoch(pairs, repeats, batch_size)
    order = _epoch_order(seed, step // steps, pairs, max(repeats, -(-batch_size // pairs)))
    start = step % steps * batch_size
    return order[start : start + batch_size].copy()


@functools.lru_cache(maxsize=4)
def _epoch_order(seed: int, epoch: int, pairs: int, shuffles: int) -> np.ndarray:
    """`shuffles` permutations of 0..pairs-1 in a row, int32.

    They sort raw words of the counter-based Philox generator, whose stream is fixed, where
    `Generator.permutation` may change between versions of numpy.
    """
    generator = np.random.Philox(key=np.array([seed, epoch], np.uint64))
    words = generator.random_raw(shuffles * pairs).reshape(shuffles, pairs)
    order = np.argsort(words, axis=1, kind="stable").astype(np.int32).reshape(-1)
    order.flags.writeable = False
    return order
