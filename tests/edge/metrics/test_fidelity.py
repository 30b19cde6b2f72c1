"""PSNR and SSIM against scikit-image and by their properties; what the sharpness ratio says of blur and noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image, ImageFilter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from export.edge.errors import UserError
from export.edge.metrics import psnr, sharpness_ratio, ssim


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


def test_sharpness_is_1_for_the_truth_and_tells_blur_from_noise() -> None:
    a, noisy = pair(40, 50, 30.0)
    blurred = np.array(Image.fromarray(noisy).filter(ImageFilter.GaussianBlur(1.5)))
    assert sharpness_ratio(a, a) == 1.0
    assert sharpness_ratio(noisy, a) > 2.0
    assert sharpness_ratio(blurred, noisy) < 0.2
    assert sharpness_ratio(noisy, blurred) == pytest.approx(1.0 / sharpness_ratio(blurred, noisy))


def test_sharpness_is_the_ratio_of_squared_contrasts() -> None:
    a, _ = pair(40, 50, 0.0)
    half = np.round(a / 2.0).astype(np.uint8)
    assert sharpness_ratio(half, a) == pytest.approx(0.25, abs=0.01)


def test_sharpness_of_flat_pictures_is_finite() -> None:
    flat = np.full((8, 8, 3), 90, np.uint8)
    assert sharpness_ratio(flat, flat) == 1.0
    assert sharpness_ratio(flat[:1, :1], flat[:1, :1]) == 1.0
