"""PSNR and SSIM against scikit-image and by their properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from export.edge.errors import UserError
from export.edge.metrics import psnr, ssim


def pair(height: int, width: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width][..., None]
    smooth = 127.5 + 100 * np.sin(x / 7 + np.arange(3)) * np.cos(y / 5)
    noisy = smooth + random.normal(0, noise, smooth.shape)
    return smooth.round().astype(np.uint8), np.clip(noisy, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(11, 11), (12, 11), (37, 101), (64, 64), (13, 200)])
@pytest.mark.parametrize("noise", [1.0, 30.0, 300.0])
def test_ssim_is_that_of_scikit_image(height: int, width: int, noise: float) -> None:
    a, b = pair(height, width, noise)
    expected = structural_similarity(
        a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, channel_axis=-1, data_range=255
    )
    assert ssim(a, b) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 8), (37, 101)])
def test_psnr_is_that_of_scikit_image(height: int, width: int) -> None:
    a, b = pair(height, width, 20.0)
    assert psnr(a, b) == pytest.approx(peak_signal_noise_ratio(a, b, data_range=255), abs=1e-9)


def test_equal_pictures() -> None:
    a, _ = pair(20, 30, 0.0)
    assert psnr(a, a.copy()) == math.inf
    assert ssim(a, a.copy()) == pytest.approx(1.0, abs=1e-12)


def test_both_are_symmetric_and_fall_with_noise() -> None:
    scores = []
    for noise in (2.0, 10.0, 50.0):
        a, b = pair(40, 50, noise)
        assert psnr(a, b) == psnr(b, a)
        assert ssim(a, b) == pytest.approx(ssim(b, a), abs=1e-12)
        scores.append((psnr(a, b), ssim(a, b)))
    assert scores == sorted(scores, reverse=True)


def test_ssim_says_when_pictures_are_smaller_than_its_window() -> None:
    with pytest.raises(UserError, match="at least 11 x 11 pixels, got 10 x 40"):
        ssim(*pair(40, 10, 1.0))


def test_pictures_that_cannot_be_compared() -> None:
    a, _ = pair(20, 20, 0.0)
    with pytest.raises(UserError, match="different sizes"):
        psnr(a, a[:19])
    with pytest.raises(UserError, match="float64"):
        ssim(a, a.astype(float))
    with pytest.raises(UserError, match="must be uint8"):
        psnr(a[..., 0], a[..., 0])
