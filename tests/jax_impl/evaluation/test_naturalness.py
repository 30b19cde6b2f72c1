"""NIQE's features against distributions of known shape, and what the distance must say of grain, blur and a lattice."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import gennorm

from jax_impl.evaluation.naturalness import (
    FEATURES,
    Statistics,
    asymmetric_gaussian,
    block_features,
    distance,
    statistics,
)
from jax_impl.evaluation.smoothing import gaussian_blur


def textures(seed: int, count: int = 24, side: int = 64) -> np.ndarray:
    """Noise with power at every scale."""
    rng = np.random.default_rng(seed)
    planes = (rng.normal(0.0, 1.0, (count, side, side, 3)) for _ in range(3))
    mixed = sum(
        (40.0 * scale * gaussian_blur(plane, scale) for scale, plane in zip((0.6, 1.5, 4.0), planes, strict=True)),
        np.zeros((count, side, side, 3)),
    )
    return np.clip(127.5 + mixed, 0, 255).astype(np.uint8)


def alike(count: int) -> np.ndarray:
    return np.full((1, count), 1.0 / count)


@pytest.mark.parametrize("shape", [0.7, 1.0, 2.0, 4.0])
def test_the_fit_recovers_a_generalised_gaussian(shape: float) -> None:
    values = gennorm.rvs(shape, scale=3.0, size=(4, 40_000), random_state=np.random.default_rng(0))
    found, left, right, mean = asymmetric_gaussian(values)
    assert found == pytest.approx([shape] * 4, rel=0.05)
    assert left == pytest.approx([3.0] * 4, rel=0.08)
    assert right == pytest.approx([3.0] * 4, rel=0.08)
    assert mean == pytest.approx([0.0] * 4, abs=0.2)


def test_the_fit_tells_left_from_right() -> None:
    rng = np.random.default_rng(0)
    halves = np.abs(rng.normal(size=(2, 40_000)))
    # The density is continuous at 0: each side holds its share of both scales.
    found, left, right, mean = asymmetric_gaussian(np.concatenate([-halves[:, :10_000], 3.0 * halves[:, 10_000:]], 1))
    assert right / left == pytest.approx([3.0, 3.0], rel=0.03)
    assert found == pytest.approx([2.0, 2.0], abs=0.1)
    assert right == pytest.approx([3.0 * np.sqrt(2.0)] * 2, rel=0.03)  # of a Gaussian, scale is √2 times deviation
    assert mean == pytest.approx([2.0 * np.sqrt(2.0 / np.pi)] * 2, rel=0.05)  # (3 - 1) √(2/π)


def test_a_set_is_at_no_distance_from_itself_and_near_its_like() -> None:
    model = statistics(textures(0))
    assert distance(model, model, alike(24)) == pytest.approx([0.0], abs=1e-9)
    like = distance(model, statistics(textures(1)), alike(24))[0]
    assert 0.0 < like < 1.0


def test_grain_blur_and_a_lattice_are_far() -> None:
    clean, model = textures(1), statistics(textures(0))
    like = distance(model, statistics(clean), alike(24))[0]
    rng = np.random.default_rng(2)
    grain = np.clip(clean + rng.normal(0.0, 12.0, clean.shape), 0, 255).astype(np.uint8)
    blur = gaussian_blur(clean.astype(np.float32), 1.0).astype(np.uint8)
    lattice = np.clip(clean + np.where(np.indices((64, 64)).sum(axis=0) % 4 == 0, 12, 0)[..., None], 0, 255)
    for changed in (grain, blur, lattice.astype(np.uint8)):
        assert distance(model, statistics(changed), alike(24))[0] > 3.0 * like


def test_a_weighted_set_is_the_set_itself() -> None:
    model, drawn = statistics(textures(0, 6)), statistics(textures(1, 6))
    subset = np.array([[0.5, 0.0, 0.5, 0.0, 0.0, 0.0]])
    alone = Statistics(drawn.mean[[0, 2]], drawn.products[[0, 2]])
    assert distance(model, drawn, subset) == pytest.approx(distance(model, alone, alike(2)))


@pytest.mark.parametrize(("height", "width"), [(16, 16), (64, 40), (256, 200)])
def test_features_at_any_size_and_of_flat_pictures(height: int, width: int) -> None:
    found = block_features(np.full((1, height, width, 3), 90, np.uint8))
    assert found.shape[0] == 1 and found.shape[2] == FEATURES
    assert np.isfinite(found).all()
