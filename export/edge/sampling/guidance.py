"""Classifier-free guidance: away from what the network draws without the guiding picture."""

from __future__ import annotations

import math

import numpy as np

from export.edge.errors import UserError
from export.edge.sampling.loop import Denoise

HIDDEN = 0.0
"""Value of every pixel of a guiding picture that training hid: middle grey."""


def check_guidance(scale: float, cond_dropout: float) -> None:
    """Raise UserError for a scale below 0 or not finite, or another than 1 where training hid no guiding pictures."""
    if not (scale >= 0.0 and math.isfinite(scale)):
        raise UserError(f"guidance {scale} is no scale; choose 0 or more, 1 for none")
    if scale != 1.0 and cond_dropout == 0.0:
        raise UserError(
            f"guidance {scale} needs a model whose training hid some guiding pictures, and this one's hid none; "
            "leave it at 1, or train with --diffusion.cond-dropout 0.1"
        )


def hide(cond: np.ndarray, channels: int = 3) -> np.ndarray:
    """cond with its picture, its first `channels`, hidden: where its pixels lie, in the two behind, stays known."""
    return np.concatenate([np.full_like(cond[..., :channels], HIDDEN), cond[..., channels:]], axis=-1)


def guided(denoise: Denoise, scale: float) -> Denoise:
    """`denoise` with its output moved to hidden + scale * (shown - hidden), at twice the cost.

    Ho and Salimans 2022, equation 6, where scale is 1 + w. A scale of 1 is the denoiser
    as it is.
    """
    if scale == 1.0:
        return denoise

    def both(x_t: np.ndarray, cond: np.ndarray, t: np.ndarray) -> np.ndarray:
        # One after the other: as one batch they would need twice the memory, and on a CPU gain nothing.
        shown = denoise(x_t, cond, t)
        hidden = denoise(x_t, hide(cond, x_t.shape[-1]), t)
        return hidden + float(scale) * (shown - hidden)

    return both
