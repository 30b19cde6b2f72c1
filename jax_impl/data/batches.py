"""Which pairs make up each batch of a run."""

from __future__ import annotations

import functools

import numpy as np

from export.edge.errors import UserError

_WORDS_OF_A_BLOCK = 4
"""Of Philox4x64, which is advanced by whole blocks."""


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
