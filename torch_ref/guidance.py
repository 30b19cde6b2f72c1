"""Classifier-free guidance (Ho & Salimans 2022)."""

from __future__ import annotations

import torch
from torch import Tensor

from torch_ref.diffusion import Denoise

HIDDEN = 0.0
"""Value of every pixel of a guiding picture that is hidden: middle grey."""


def guided(denoise: Denoise, scale: float) -> Denoise:
    """(1 + w) · shown - w · hidden of the network's outputs, with w = scale - 1 (equation 6); 1 leaves out `hidden`."""
    w = scale - 1.0
    if w == 0.0:
        return denoise

    def both(x_t: Tensor, cond: Tensor, t: Tensor) -> Tensor:
        # Only the picture is hidden: coordinates, where cond has them, stay.
        channels = x_t.shape[1]
        hidden = torch.cat([torch.full_like(cond[:, :channels], HIDDEN), cond[:, channels:]], dim=1)
        return (1.0 + w) * denoise(x_t, cond, t) - w * denoise(x_t, hidden, t)

    return both
