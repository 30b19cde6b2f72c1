"""Sliced Wasserstein distance: against sorting, and by what it must say of equal, blurred and shuffled sets."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy.ndimage import convolve
from scipy.stats import wasserstein_distance

from export.edge.errors import UserError
from export.edge.metrics import Yardstick, cumulative, distances, make_yardstick
from export.edge.metrics.texture import _patches, _pyramid


def scenes(count: int = 12, side: int = 48, seed: int = 0) -> np.ndarray:
    """Smooth colours with rough noise on them."""
    random = np.random.default_rng(seed)
    coarse = random.integers(40, 216, (count, 6, 6, 3), dtype=np.uint8)
    smooth = np.stack([np.array(Image.fromarray(c).resize((side, side), Image.Resampling.BICUBIC)) for c in coarse])
    return np.clip(smooth + random.normal(0, 12, smooth.shape), 0, 255).astype(np.uint8)


def blur(pictures: np.ndarray, radius: float) -> np.ndarray:
    return np.stack([np.array(Image.fromarray(p).filter(ImageFilter.GaussianBlur(radius))) for p in pictures])


def distance(yardstick: Yardstick, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of every level, for whole sets."""
    gaps = [p - q for p, q in zip(cumulative(yardstick, a), cumulative(yardstick, b), strict=True)]
    return distances(yardstick, gaps, np.full((1, len(a)), 1.0 / len(a)))[0]


def test_it_is_the_wasserstein_distance_of_sorted_projections() -> None:
    targets, pictures = scenes(), blur(scenes(seed=1), 1.0)
    yardstick = make_yardstick(targets, patches=40, directions=24)
    expected = []
    for level, a, b in zip(yardstick.levels, _pyramid(pictures), _pyramid(targets), strict=True):
        sets = [((_patches(x, level.places) - level.middle) / level.scale).reshape(-1, 147) for x in (a, b)]
        lines = [held.astype(np.float64) @ level.directions for held in sets]
        both = zip(*(line.T for line in lines), strict=True)
        expected.append(1000.0 * np.mean([wasserstein_distance(p, q) for p, q in both]))
    np.testing.assert_allclose(distance(yardstick, pictures, targets), expected, rtol=0.02)


def test_the_pyramid_adds_up_to_the_picture_and_its_kernel_is_the_papers() -> None:
    for pictures in (scenes(2, 64), scenes(2, 64)[:, :, :51]):
        fine, *_ = levels = _pyramid(pictures)
        kernel = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1])[..., None] / 256.0
        rest = levels[-1]
        for level in reversed(levels[:-1]):
            spread = np.zeros_like(level)
            spread[:, ::2, ::2] = rest
            rest = level + np.stack([convolve(each, 4.0 * kernel, mode="mirror") for each in spread])
        assert fine.shape == pictures.shape
        np.testing.assert_allclose(rest, pictures / 255.0, atol=1e-5)


def test_equal_sets_are_at_distance_0_in_any_order() -> None:
    targets = scenes()
    yardstick = make_yardstick(targets)
    assert distance(yardstick, targets, targets).tolist() == [0.0] * 2
    # Patches lie elsewhere in each picture, so another order is another sample of the same set: near, not equal.
    shuffled, blurred = (distance(yardstick, x, targets).mean() for x in (targets[::-1], blur(targets, 1.0)))
    assert 0.0 < shuffled < 0.5 * blurred


def test_it_grows_with_blur_and_sees_it_at_the_finest_level_first() -> None:
    targets = scenes()
    yardstick = make_yardstick(targets)
    found = [distance(yardstick, blur(targets, radius), targets) for radius in (0.5, 1.0, 2.0, 4.0)]
    assert [f.mean() for f in found] == sorted(f.mean() for f in found)
    assert found[0][0] > 3.0 * found[0][-1]


def test_it_is_symmetric_and_follows_its_seed() -> None:
    a, b = scenes(), scenes(seed=5)
    yardstick = make_yardstick(b, seed=3)
    np.testing.assert_allclose(distance(yardstick, a, b), distance(yardstick, b, a))
    np.testing.assert_array_equal(distance(make_yardstick(b, seed=3), a, b), distance(yardstick, a, b))
    assert (distance(make_yardstick(b, seed=4), a, b) != distance(yardstick, a, b)).all()


def test_a_weighted_set_is_the_set_itself() -> None:
    targets, pictures = scenes(6), blur(scenes(6), 2.0)
    yardstick = make_yardstick(targets)
    gaps = [p - q for p, q in zip(cumulative(yardstick, pictures), cumulative(yardstick, targets), strict=True)]
    subset = np.array([[0.0, 0.5, 0.0, 0.5, 0.0, 0.0]])
    alone = [gap[[1, 3]] for gap in gaps]
    np.testing.assert_allclose(
        distances(yardstick, gaps, subset), distances(yardstick, alone, np.full((1, 2), 0.5)), rtol=1e-5
    )


def test_levels_halve_down_to_16_pixels_and_flat_targets_do_no_harm() -> None:
    assert [level.side for level in make_yardstick(scenes(2, 128)).levels] == [128, 64, 32, 16]
    flat = np.full((2, 16, 16, 3), 7, np.uint8)
    assert np.isfinite(distance(make_yardstick(flat), scenes(2, 16), flat)).all()


def test_pictures_smaller_than_a_patch() -> None:
    with pytest.raises(UserError, match="7 x 7 pixels do not fit into pictures of 9 x 6"):
        make_yardstick(np.zeros((1, 6, 9, 3), np.uint8))
