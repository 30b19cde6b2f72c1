"""How near one picture is to another: PSNR, SSIM and the ratio of their sharpness."""

from __future__ import annotations

import math

import numpy as np

from export.edge.errors import UserError

WINDOW = 11
"""Side of SSIM's gaussian window, in pixels."""
_SIGMA = 1.5
_RANGE = 255.0
_C1 = (0.01 * _RANGE) ** 2
_C2 = (0.03 * _RANGE) ** 2
LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in ITU-R BT.601's luma."""
_ROUNDING = 1.0 / 3.0
"""Gradient energy of rounding to whole levels: in two directions, the difference of two errors of variance 1/12."""


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of two uint8 pictures (height, width, 3); infinite for equal ones."""
    check_pair(a, b)
    error = float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))
    return math.inf if error == 0.0 else 10.0 * math.log10(_RANGE**2 / error)


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Structural similarity of two uint8 pictures (height, width, 3), at most 1.

    Wang, Bovik, Sheikh, Simoncelli 2004, equation 13: an 11 x 11 gaussian window of
    sigma 1.5 wherever it lies inside the picture whole, the mean over places and
    channels. Raises UserError when a side is shorter than the window.
    """
    check_pair(a, b)
    if min(a.shape[:2]) < WINDOW:
        raise UserError(
            f"SSIM needs pictures of at least {WINDOW} x {WINDOW} pixels, got {a.shape[1]} x {a.shape[0]}; "
            "leave them out or use psnr"
        )
    return float(np.mean([_ssim_channel(a[..., c].astype(np.float64), b[..., c].astype(np.float64)) for c in range(3)]))


def sharpness_ratio(generated: np.ndarray, target: np.ndarray) -> float:
    """Gradient energy of one uint8 picture (height, width, 3) over that of another: 1 is ideal, below it is blur.

    The energy is the mean square of the luma's differences to the next pixel right and
    below, in levels of 255, plus what rounding alone leaves, so that flat pictures compare.
    """
    check_pair(generated, target)
    return _gradient_energy(generated) / _gradient_energy(target)


def _gradient_energy(picture: np.ndarray) -> float:
    luma = picture @ LUMA
    steps = (np.diff(luma, axis=axis) for axis in (0, 1))
    return sum((float(np.mean(step * step)) for step in steps if step.size), _ROUNDING)


def _ssim_channel(a: np.ndarray, b: np.ndarray) -> float:
    """SSIM of two float64 (height, width) arrays in [0, 255]."""
    mean_a, mean_b = _blur(a), _blur(b)
    var_a = _blur(a * a) - mean_a * mean_a
    var_b = _blur(b * b) - mean_b * mean_b
    covariance = _blur(a * b) - mean_a * mean_b
    above = (2.0 * mean_a * mean_b + _C1) * (2.0 * covariance + _C2)
    below = (mean_a**2 + mean_b**2 + _C1) * (var_a + var_b + _C2)
    return float(np.mean(above / below))


def _blur(x: np.ndarray) -> np.ndarray:
    """The gaussian window's weighted mean at every place where it fits, (height - 10, width - 10)."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    kernel = np.exp(-0.5 * (offsets / _SIGMA) ** 2)
    kernel /= kernel.sum()
    height, width = x.shape[0] - WINDOW + 1, x.shape[1] - WINDOW + 1
    rows = sum((w * x[i : i + height] for i, w in enumerate(kernel)), np.zeros((height, x.shape[1])))
    return sum((w * rows[:, i : i + width] for i, w in enumerate(kernel)), np.zeros((height, width)))


def check_pair(a: np.ndarray, b: np.ndarray) -> None:
    """Raise UserError unless both are uint8 (height, width, 3) and of one size."""
    for picture in (a, b):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise UserError(f"a picture must be uint8 (height, width, 3), got {picture.dtype} {picture.shape}")
    if a.shape != b.shape:
        raise UserError(f"pictures of different sizes, {a.shape} and {b.shape}; resize one of them first")
