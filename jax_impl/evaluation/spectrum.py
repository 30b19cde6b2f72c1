"""Power spectra of sets of pictures by octave: too little power in the finest octave is blur, too much is grain.

A lattice of blocks shows as power in the octaves of its period, which distances of patches forgive.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from export.edge.metrics import LUMA

CHANNELS = ("brightness", "colour")
_OPPONENT = np.array([LUMA, [0.5, -0.4187, -0.0813], [-0.1687, -0.3313, 0.5]], np.float32).T
"""Luma and the two chroma differences of ITU-R BT.601, columns."""
_ROUNDING = 1.0 / 12.0
"""Variance of rounding to whole levels, which keeps flat pictures comparable."""
_COARSEST = 4
"""Most octaves; longer periods have too few waves in a small picture."""


def octaves(height: int, width: int) -> int:
    """How many octaves pictures have, from periods of 2 to 4 pixels on, up to a half of the shorter side."""
    return max(1, min(_COARSEST, int(np.log2(min(height, width))) - 2))


def titles(height: int, width: int) -> list[str]:
    """What `power` gives, column by column."""
    periods = [f"{2 << i}–{4 << i} px" for i in range(octaves(height, width))]
    return [f"{channel} {period}" for channel in CHANNELS for period in periods]


def power(pictures: np.ndarray) -> np.ndarray:
    """Mean power of uint8 (pictures, height, width, 3): float64 (pictures, 2 octaves), the columns as `titles`.

    Periodograms under a Hann window, of the luma and of both chroma differences (together), less each picture's mean;
    an octave is a ring of spatial frequencies. The corners above half a cycle a pixel belong to the finest one. The
    unit is squared levels of 255 of white noise.
    """
    height, width = pictures.shape[1:3]
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1]).astype(np.float32)
    planes = pictures.astype(np.float32) @ _OPPONENT
    planes -= planes.mean(axis=(1, 2), keepdims=True)
    waves = np.abs(np.fft.fft2(planes * window[..., None], axes=(1, 2))) ** 2 / np.sum(window**2)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :])
    rings = _rings(frequency, octaves(height, width))
    by_ring = np.stack([waves[:, ring].mean(axis=1, dtype=np.float64) for ring in rings], axis=1) + _ROUNDING
    return np.concatenate([by_ring[..., 0], by_ring[..., 1:].mean(axis=-1)], axis=1)


def decibels(drawn: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Of mean powers, how much more a set has than another in each column, dB: 0 is equal."""
    return 10.0 * np.log10(drawn / truth)


def _rings(frequency: np.ndarray, count: int) -> list[np.ndarray]:
    edges = [np.inf, *(0.25 / 2**i for i in range(count))]
    return [(frequency < high) & (frequency >= low) for high, low in pairwise(edges)]
