"""The Laplacian term on pictures whose bands are known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from export.edge.errors import UserError
from jax_impl.diffusion.losses.laplacian import LaplacianConfig
from jax_impl.diffusion.losses.registry import LossSample
from jax_impl.diffusion.process import Levels


def value_of(error: np.ndarray, levels: int = 4) -> np.ndarray:
    """The term's value for an x0_hat that is so far from x0."""
    found, zero, one = jnp.asarray(error, jnp.float32), jnp.zeros(error.shape), jnp.ones((len(error), 1, 1, 1))
    sample = LossSample(zero, zero, zero, jnp.zeros(len(error), int), zero, found, zero, found, Levels(one, one, one))
    value, parts = LaplacianConfig(levels=levels).create()(sample, jax.random.key(0), {})
    assert not parts
    return np.asarray(value)


def checkerboard(side: int) -> np.ndarray:
    return np.indices((side, side)).sum(axis=0) % 2 * 2.0 - 1.0


def test_a_wrong_colour_everywhere_costs_nothing() -> None:
    np.testing.assert_allclose(value_of(np.full((1, 56, 56, 3), 0.7)), 0.0, atol=1e-6)


def test_detail_costs_its_mean_size_for_each_picture() -> None:
    """Means of 2 × 2 of a checkerboard are zero: the finest band is the error itself, the others are empty."""
    board = checkerboard(56)[None, :, :, None] * np.ones(3)
    np.testing.assert_allclose(value_of(np.concatenate([0.5 * board, 0.1 * board])), [0.5, 0.1], rtol=1e-6)


def test_the_coarsest_band_is_left_out() -> None:
    """A checkerboard of squares of 4 pixels vanishes in the means of 2 × 2 of the second level, not of the first."""
    board = np.kron(checkerboard(14), np.ones((4, 4)))[None, :, :, None]
    values = [float(value_of(board, levels)[0]) for levels in (2, 3, 4)]
    assert 0.0 < values[0] < values[1] < values[2]


def test_a_picture_smaller_than_two_patches_has_no_band() -> None:
    assert value_of(checkerboard(8)[None, :, :, None]).tolist() == [0.0]


@pytest.mark.parametrize("levels", [1, 9])
def test_levels_out_of_range(levels: int) -> None:
    with pytest.raises(UserError, match=f"losses.laplacian.levels is {levels}: choose 2 to 8"):
        LaplacianConfig(levels=levels)
