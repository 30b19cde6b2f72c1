"""Where each pixel lies in the whole picture, as two more channels of cond, for models that use it.

A convolution looks the same everywhere, so a network that was trained on crops cannot
tell sky from ground by their height; given the place of every pixel, it can, at any size
(Wang et al. 2023, "Patch Diffusion", conditional coordinates for patch location).
"""

from __future__ import annotations

import numpy as np

from export.edge.sampling.loop import Denoise


def centres(count: int) -> np.ndarray:
    """Centres of `count` pixels that lie side by side from -1 to 1, float64 (count,)."""
    return (2.0 * np.arange(count) + 1.0) / count - 1.0


def with_coordinates(cond: np.ndarray) -> np.ndarray:
    """cond (batch, height, width, 3) with each pixel's height, then width, as channels 4 and 5, -1 to 1, cond's dtype.

    One that has five channels, a part of a larger picture, comes back as it is.
    """
    if cond.shape[-1] != 3:
        return cond
    batch, height, width, _ = cond.shape
    placed = np.empty((batch, height, width, 5), cond.dtype)
    placed[..., :3] = cond
    placed[..., 3] = centres(height)[:, None]
    placed[..., 4] = centres(width)
    return placed


def placed(denoise: Denoise) -> Denoise:
    """`denoise`, whose cond has five channels, as one that takes whole pictures of three too."""
    return lambda x_t, cond, t: denoise(x_t, with_coordinates(cond), t)
