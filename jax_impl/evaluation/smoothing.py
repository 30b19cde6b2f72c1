"""Gaussian blur in numpy, for baselines and figures."""

from __future__ import annotations

import numpy as np

_REACH = 3.0
"""Half the length of the kernel, standard deviations."""


def gaussian_blur(pictures: np.ndarray, sigma: float) -> np.ndarray:
    """Blur float (pictures, height, width, channels) by `sigma` pixels; beyond a border its nearest pixel is repeated.

    The kernel ends at 3 sigma, rounded up to whole pixels.
    """
    reach = int(np.ceil(_REACH * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights = (weights / weights.sum()).astype(pictures.dtype)
    for axis in (1, 2):
        pad = [(0, 0)] * 4
        pad[axis] = (reach, reach)
        wide, size = np.pad(pictures, pad, mode="edge"), pictures.shape[axis]
        parts = (weight * wide.take(range(i, i + size), axis=axis) for i, weight in enumerate(weights))
        pictures = sum(parts, np.zeros_like(pictures))
    return pictures
