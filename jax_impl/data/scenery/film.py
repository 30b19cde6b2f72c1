"""From scene light to a picture: exposure, tone curve, sRGB, dither."""

from __future__ import annotations

import numpy as np

LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)
"""Rec. 709 luminance weights."""


def luminance(light: np.ndarray) -> np.ndarray:
    """Luminance of linear RGB planes (3, ...) -> (...)."""
    return light[0] * LUMA[0] + light[1] * LUMA[1] + light[2] * LUMA[2]


def saturate(light: np.ndarray, amount: float) -> np.ndarray:
    """Push colours away from their own grey (amount > 1) or towards it (amount < 1)."""
    grey = luminance(light)[None]
    return np.maximum(grey + np.float32(amount) * (light - grey), 0.0)


def tone_curve(light: np.ndarray) -> np.ndarray:
    """A filmic shoulder and toe, [0, inf) -> [0, 1): the rational fit of the ACES curve by Narkowicz 2015."""
    x = light * np.float32(0.6)
    return (x * (2.51 * x + 0.03)) / (x * (2.43 * x + 0.59) + 0.14)


def srgb(linear: np.ndarray) -> np.ndarray:
    """The sRGB transfer curve (IEC 61966-2-1), [0, 1] -> [0, 1]."""
    linear = np.clip(linear, 0.0, 1.0)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** np.float32(1 / 2.4) - 0.055)


def _dither(size: int) -> np.ndarray:
    """A fixed, evenly spread pattern in [-0.5, 0.5): interleaved gradient noise (Jimenez 2014)."""
    x, y = np.arange(size)[None, :], np.arange(size)[:, None]
    return ((52.9829189 * ((0.06711056 * x + 0.00583715 * y) % 1.0)) % 1.0 - 0.5).astype(np.float32)


def develop(light: np.ndarray) -> np.ndarray:
    """Linear light float32 (3, size, size) -> sRGB picture uint8 (size, size, 3); bright colours keep their hue."""
    # A curve per channel bleaches bright colours, a curve on luminance alone never does; film lies in between.
    bright = luminance(light)
    scale = tone_curve(bright) / np.maximum(bright, 1e-6)
    mixed = 0.6 * tone_curve(light) + 0.4 * np.minimum(light * scale[None], 1.0)
    # The floor and the ceiling stay inside the range, as in a print: black ink is not zero, paper not 255.
    levels = 5.0 + 246.0 * srgb(mixed) + _dither(light.shape[1])[None]
    return np.ascontiguousarray(np.moveaxis(np.clip(np.rint(levels), 0, 255).astype(np.uint8), 0, 2))
