"""Which pairs make up each batch."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.edge.errors import UserError
from jax_impl.data import batches as module
from jax_impl.data.batches import batch_indices, steps_per_epoch

sizes = st.tuples(st.integers(1, 40), st.integers(1, 5), st.integers(1, 16))


@given(size=sizes, seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 3))
def test_an_epoch_shows_every_pair_equally_often(size: tuple[int, int, int], seed: int, epoch: int) -> None:
    pairs, repeats, batch = size
    steps = steps_per_epoch(pairs, repeats, batch)
    batches = [batch_indices(seed, epoch * steps + i, pairs, repeats, batch) for i in range(steps)]
    assert all(b.shape == (batch,) and b.dtype == np.int32 for b in batches)
    seen = Counter(np.concatenate(batches).tolist())
    assert set(seen) <= set(range(pairs))
    counts = [seen[i] for i in range(pairs)]
    if pairs * repeats >= batch:
        assert sum(counts) == steps * batch > pairs * repeats - batch
        assert max(counts) <= repeats
        assert min(counts) >= repeats - -(-(pairs * repeats - steps * batch) // pairs)
    else:
        assert max(counts) - min(counts) <= 1


def test_batches_depend_on_seed_and_step_alone() -> None:
    batches = {(seed, step): batch_indices(seed, step, 100, 2, 8).tolist() for seed in (0, 1) for step in range(60)}
    module._shuffle.cache_clear()
    for (seed, step), batch in reversed(batches.items()):
        assert batch_indices(seed, step, 100, 2, 8).tolist() == batch
    assert batches[0, 0] != batches[1, 0]
    assert batches[0, 0] != batches[0, steps_per_epoch(100, 2, 8)], "epochs have an order each"


def test_the_order_is_not_in_favour_of_any_pair() -> None:
    firsts = Counter(int(batch_indices(seed, 0, 10, 1, 1)[0]) for seed in range(2000))
    assert all(140 < firsts[i] < 260 for i in range(10))


def test_a_returned_batch_may_be_written_to() -> None:
    batch_indices(0, 0, 10, 1, 4)[:] = -1
    assert batch_indices(0, 0, 10, 1, 4).min() >= 0


def test_no_pairs_make_no_batch() -> None:
    with pytest.raises(UserError, match="no pairs"):
        batch_indices(0, 0, 0, 1, 4)
