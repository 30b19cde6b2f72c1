"""Random windows: the same for both pictures, everywhere alike, and where they say they are."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
import pytest
from scipy import stats

from jax_impl.data.crops import random_crops

HEIGHT, WIDTH = 6, 8


def pairs(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures in which no two pixels are alike."""
    cond = np.arange(count * HEIGHT * WIDTH * 3, dtype=np.float32).reshape(count, HEIGHT, WIDTH, 3)
    return cond, -1.0 - cond


def corners(cond: np.ndarray, size: int) -> np.ndarray:
    """Top and left of each window, from the centres of its first pixel in the picture's coordinates."""
    places = (cond[:, 0, 0, 3:] + 1) / 2 * (HEIGHT, WIDTH) - 0.5
    np.testing.assert_allclose(places, np.round(places), atol=1e-5)
    assert (places > -0.5).all() and (places + size < np.array([HEIGHT, WIDTH]) + 0.5).all()
    return np.round(places).astype(int)


@pytest.mark.parametrize("size", [2, 4, 6])
def test_a_window_is_where_its_coordinates_say(size: int) -> None:
    cond, x0 = pairs(5)
    cut, cut_x0 = map(np.asarray, jax.jit(partial(random_crops, size=size))(jax.random.key(size), cond, x0))
    assert cut.shape == (5, size, size, 5)
    for i, (top, left) in enumerate(corners(cut, size)):
        np.testing.assert_array_equal(cut[i, ..., :3], cond[i, top : top + size, left : left + size])
        np.testing.assert_array_equal(cut_x0[i], x0[i, top : top + size, left : left + size])
        rows, columns = (2 * np.arange(n) + 1 for n in (HEIGHT, WIDTH))
        np.testing.assert_allclose(cut[i, :, 0, 3], rows[top : top + size] / HEIGHT - 1, atol=1e-6)
        np.testing.assert_allclose(cut[i, 0, :, 4], columns[left : left + size] / WIDTH - 1, atol=1e-6)


def test_every_position_is_equally_likely_and_follows_from_the_key() -> None:
    count = 3000
    crops = jax.jit(partial(random_crops, size=4))
    cut, again, other = (np.asarray(crops(jax.random.key(key), *pairs(count))[0]) for key in (0, 0, 1))
    np.testing.assert_array_equal(cut, again)
    assert (cut != other).any()
    positions = corners(cut, 4)
    found = np.zeros((HEIGHT - 3, WIDTH - 3))
    np.add.at(found, tuple(positions.T), 1)
    assert found.sum() == count
    assert stats.chisquare(found.ravel()).pvalue > 1e-3
