"""Pairs to train on, in memory or read as they are needed, and which of them make up each batch."""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from tqdm import tqdm

from export.edge.errors import UserError
from export.edge.pictures.arrays import fit_square
from jax_impl.config.data import DataConfig
from jax_impl.data.bad_pairs import check_share, is_bad, stand_in, standing_in
from jax_impl.data.pairs import Pair, find_pairs, read_pair
from jax_impl.data.synthetic import render_pair, scene_seed
from jax_impl.data.tfds_source import open_tfds

Split = Literal["train", "val", "test"]
SYNTHETIC = "synthetic"
"""The `path` that stands for the built-in scenes."""
MAX_BYTES = 16 * 2**30
"""Pictures that have to be in memory all at once: more than this is refused before anything is read."""
SMALLEST_SIDE = 8
_THREADS = 2
_BAR_FROM = 200
_WORDS_OF_A_BLOCK = 4
"""Of Philox4x64, which is advanced by whole blocks."""


@dataclass(frozen=True)
class Pairs:
    """All pairs of a split, decoded and square."""

    names: tuple[str, ...]
    """Of what the arrays hold: a pair that stands in for a bad one is there twice."""
    cond: np.ndarray
    """uint8 (pairs, size, size, 3)"""
    x0: np.ndarray
    """uint8 (pairs, size, size, 3)"""


@dataclass(frozen=True)
class Source:
    """All pairs of a split, each decoded when it is asked for, from any thread."""

    names: tuple[str, ...]
    size: int
    read: Callable[[int], tuple[np.ndarray, np.ndarray]]
    """cond and x0 at a position, each uint8 (size, size, 3); raises UserError for a picture that cannot be used."""
    origin: Callable[[], str]
    """Something cheap to know the data by without decoding it, such as the sizes of its files."""
    verb: str = "reading"
    is_bad: Callable[[int, UserError], bool] = lambda position, error: False
    """Whether an error that `read` raised at a position lies in what the pictures are: another pair may stand in."""
    max_bad_share: float = 0.0
    """Of the pairs, how many may be bad."""

    @property
    def bytes(self) -> int:
        """What all of it takes, decoded."""
        return 2 * len(self.names) * self.size * self.size * 3


def open_source(config: DataConfig, split: Split) -> Source:
    """The pairs of a split, found but not decoded; a `val` or `test` split may be empty.

    Raises UserError where they cannot be found, and where the training split is empty.
    """
    if config.tfds:
        return _of_tfds(config, split)
    if config.path == SYNTHETIC:
        count = config.synthetic_pairs if split == "train" else config.synthetic_val_pairs
        names = tuple(f"{split}_{index:05d}" for index in range(count))
        return Source(
            names, config.size, lambda i: render_pair(scene_seed(split, i), config.size), lambda: "scenes", "rendering"
        )
    source = find_pairs(config)
    pairs = source.splits[split]
    if not pairs and split == "train":
        others = ", ".join(name for name, members in source.splits.items() if members)
        raise UserError(
            f"data.path {config.path} has pairs for {others} but none for train; add some, or drop the split"
        )

    def origin() -> str:
        sizes = [locator.path.stat().st_size for pair in pairs for locator in (pair.cond, pair.x0)]
        return hashlib.sha256(str(sizes).encode()).hexdigest()

    return Source(
        tuple(pair.name for pair in pairs),
        config.size,
        lambda i: squares(pairs[i], config),
        origin,
        is_bad=lambda i, error: split == "train" and is_bad(pairs[i], error),
        max_bad_share=config.max_bad_share,
    )


def _of_tfds(config: DataConfig, split: Split) -> Source:
    prepared = open_tfds(config)
    positions = prepared.positions[split]

    def read(i: int) -> tuple[np.ndarray, np.ndarray]:
        cond, x0 = (fit_square(picture, config.size, config.fit) for picture in prepared.read(split, int(positions[i])))
        return cond, x0

    names = tuple(f"{split}_{position:06d}" for position in positions.tolist())
    return Source(
        names,
        config.size,
        read,
        lambda: prepared.origin,
        is_bad=lambda i, error: split == "train",
        max_bad_share=config.max_bad_share,
    )


def open_pairs(config: DataConfig) -> Pairs | Source:
    """The training pairs: decoded, where they take at most `config.in_memory_mb`, else to be read as they are needed.

    Either way batches are the same. Raises UserError as `open_source` and `load` do.
    """
    source = open_source(config, "train")
    return source if source.bytes > config.in_memory_mb * 2**20 else decode(source)


def open_held_out_pairs(config: DataConfig) -> Pairs:
    """At most `config.max_val_pairs` of the validation pairs, spread evenly over them, decoded."""
    source = open_source(config, "val")
    count, most = len(source.names), config.max_val_pairs
    if count <= most:
        return decode(source)
    chosen = [i * count // most for i in range(most)]
    return decode(replace(source, names=tuple(source.names[i] for i in chosen), read=lambda i: source.read(chosen[i])))


def load(config: DataConfig, split: Split) -> Pairs:
    """Decode every pair of a split and make it square by `config.fit`.

    A `val` or `test` split without pairs gives empty arrays. In `train`, up to
    `config.max_bad_share` of the pairs may hold a picture that cannot be decoded or is
    smaller than 8 pixels on a side; the next good pair stands in for each. Raises UserError
    where more do, or any elsewhere, pairs cannot be found, a file cannot be read, the
    training split is empty, or the arrays would not fit in memory.
    """
    return decode(open_source(config, split))


def decode(source: Source) -> Pairs:
    """All pairs of a source in memory; raises UserError where they would not fit or too many cannot be used."""

    def make(i: int) -> tuple[np.ndarray, np.ndarray] | UserError:
        try:
            return source.read(i)
        except UserError as error:
            if source.is_bad(i, error):
                return error
            raise

    return _fill(source.names, source.size, make, source.verb, source.max_bad_share)


def tolerant(source: Source) -> Source:
    """The same pairs, where the next good one stands in for each that is bad, as `decode` has it."""
    return replace(source, read=standing_in(source.names, source.read, source.is_bad, source.max_bad_share))


def remarks(config: DataConfig) -> tuple[str, ...]:
    """One line each on what a person who starts a training run should know: held-out pairs, pictures left out."""
    if config.tfds:
        return open_tfds(config).notes
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
    start = step % steps * batch_size
    first, last = start // pairs, (start + batch_size - 1) // pairs
    order = np.concatenate([_shuffle(seed, step // steps, number, pairs) for number in range(first, last + 1)])
    return order[start - first * pairs :][:batch_size]


@functools.lru_cache(maxsize=8)
def _shuffle(seed: int, epoch: int, number: int, pairs: int) -> np.ndarray:
    """Permutation `number` from 0 of those of an epoch, of 0..pairs-1, int32.

    All of an epoch sort the raw words of one stream of the counter-based Philox generator,
    which is fixed, where `Generator.permutation` may change between versions of numpy.
    """
    generator = np.random.Philox(key=np.array([seed, epoch], np.uint64))
    blocks, rest = divmod(number * pairs, _WORDS_OF_A_BLOCK)
    words = generator.advance(blocks).random_raw(rest + pairs)[rest:]
    order = np.argsort(words, kind="stable").astype(np.int32)
    order.flags.writeable = False
    return order
