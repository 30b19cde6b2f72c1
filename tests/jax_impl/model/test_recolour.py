"""The affine heads: what each looks at, and the bilateral grid beside scipy's interpolation."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from jax_impl.model.recolour import BINS, Head, brightness_bins, head_weights, recolour

PATCH, ROWS, COLUMNS = 4, 3, 5


def pictures(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (2, ROWS * PATCH, COLUMNS * PATCH, 3)).astype(np.float32)


def coefficients(terms: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, ROWS, COLUMNS, terms)).astype(np.float32)


@pytest.mark.parametrize(("head", "weights"), [("affine", 21), ("affine_cond", 12), ("bilateral", 12 * BINS)])
def test_weights_by_hand(head: Head, weights: int) -> None:
    assert head_weights(head, 3) == weights


def test_a_pixel_lies_between_two_levels_of_brightness() -> None:
    greys = np.array([-1.5, -1.0, 0.0, 1.0, 2.0, -1.0 + 2.0 * 2.25 / (BINS - 1)], np.float32)
    found = np.asarray(brightness_bins(jnp.asarray(np.repeat(greys, 3).reshape(1, 1, -1, 3))))[0, 0]
    np.testing.assert_allclose(found.sum(axis=-1), 1.0, atol=1e-6)
    black, white, middle, between = np.eye(BINS)[0], np.eye(BINS)[-1], np.zeros(BINS), np.zeros(BINS)
    middle[[BINS // 2 - 1, BINS // 2]], between[[2, 3]] = 0.5, (0.75, 0.25)
    np.testing.assert_allclose(found, [black, black, middle, white, white, between], atol=1e-6)


def test_the_same_change_at_every_brightness_is_that_of_the_affine_head() -> None:
    one, cond = coefficients(12), jnp.asarray(pictures(1))
    found = recolour("bilateral", jnp.asarray(np.tile(one, BINS)), cond, cond, PATCH)
    np.testing.assert_allclose(found, recolour("affine_cond", jnp.asarray(one), cond, cond, PATCH), atol=1e-5)


def test_the_grid_is_read_as_scipy_interpolates() -> None:
    """Linearly in height and width between the blocks' centres, and in brightness between the levels."""
    grid, cond = coefficients(12 * BINS), pictures(1)
    found = recolour("bilateral", jnp.asarray(grid), jnp.asarray(cond), jnp.asarray(cond), PATCH)
    rows, columns = np.mgrid[: ROWS * PATCH, : COLUMNS * PATCH]
    for picture, weights, drawn in zip(
        cond, grid.reshape(2, ROWS, COLUMNS, BINS, 3, 4), np.asarray(found), strict=True
    ):
        depth = (BINS - 1) * (picture.mean(axis=-1) + 1.0) / 2.0
        places = [(rows + 0.5) / PATCH - 0.5, (columns + 0.5) / PATCH - 0.5, depth]
        terms = np.concatenate([picture, np.ones_like(picture[..., :1])], axis=-1)
        wanted = picture.copy()
        for channel in range(3):
            for term in range(4):
                weight = ndimage.map_coordinates(weights[..., channel, term], places, order=1, mode="nearest")
                wanted[..., channel] += weight * terms[..., term]
        np.testing.assert_allclose(drawn, wanted, atol=1e-4)
