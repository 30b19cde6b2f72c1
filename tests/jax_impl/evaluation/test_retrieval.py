"""Baselines that look up training pairs, and the blur that splits detail from colour."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from jax_impl.data.loader import Pairs
from jax_impl.evaluation.baselines import pixel_ridge
from jax_impl.evaluation.retrieval import retrieval, with_detail
from jax_impl.evaluation.smoothing import gaussian_blur

RNG = np.random.default_rng(0)
COND, X0 = (RNG.integers(0, 256, (5, 24, 24, 3), dtype=np.uint8) for _ in range(2))
TRAIN = Pairs(tuple("abcde"), COND, X0)


def test_the_nearest_input_gives_its_target() -> None:
    find = retrieval(TRAIN)
    for cond, x0 in zip(COND, X0, strict=True):
        near = np.clip(cond.astype(int) + RNG.integers(-20, 21, cond.shape), 0, 255).astype(np.uint8)
        np.testing.assert_array_equal(find(near[None], [0])[0], x0)


def test_detail_joins_the_colours_of_one_picture_and_the_texture_of_the_other() -> None:
    made = with_detail(pixel_ridge(TRAIN), retrieval(TRAIN), 1.5, grey=False)(COND[2:3], [0])[0].astype(np.float64)
    ridge, found = pixel_ridge(TRAIN)(COND[2], 0).astype(np.float64), X0[2].astype(np.float64)
    wanted = ridge + found - gaussian_blur(found[None], 1.5)[0]
    inside = (wanted > 1.0) & (wanted < 254.0)
    assert inside.mean() > 0.5
    assert np.abs(made - wanted)[inside].max() <= 1.5  # rounding, of ridge and of the sum


def test_grey_detail_is_the_same_in_every_channel() -> None:
    made = with_detail(pixel_ridge(TRAIN), retrieval(TRAIN), 1.5, grey=True)(COND[1:2], [0])[0].astype(int)
    added = made - pixel_ridge(TRAIN)(COND[1], 0)
    inside = ((made > 1) & (made < 254)).all(axis=-1)
    assert inside.sum() > 50
    assert np.ptp(added[inside], axis=-1).max() <= 2
    assert np.abs(added[inside]).max() > 10


def test_the_blur_is_scipys() -> None:
    pictures = RNG.normal(size=(2, 30, 20, 3))
    wanted = pictures
    for axis in (1, 2):
        wanted = gaussian_filter1d(wanted, 2.0, axis=axis, mode="nearest", truncate=3.0)
    np.testing.assert_allclose(gaussian_blur(pictures, 2.0), wanted, atol=1e-12)
