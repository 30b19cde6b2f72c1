"""What every denoiser here has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from export.edge.errors import UserError


class Denoiser(nn.Module, ABC):
    """A denoiser of the noised target, guided by a picture of the same scene.

    `size_multiple`: height and width of its pictures are multiples of this, pixels.
    `channels`: of its pictures, or of the states that a codec makes of them.
    `cond_channels`: most channels of cond that it takes: as many, and two more with coordinates.
    """

    size_multiple: int
    channels: int = 3
    cond_channels: int = 3

    @abstractmethod
    def forward(self, x_t: Tensor, cond: Tensor, t: Tensor) -> Tensor:
        """The network's prediction, (batch, channels, height, width), unbounded unless it ends in a tanh.

        `x_t`: noised target; `cond`: guiding picture in [-1, 1], or states of both; (batch, channels, height, width).
        A network with coordinates takes a cond of 5 channels too, a part of a larger picture: the last two are
        each pixel's height and width in that one, -1 to 1. One of 3 is a whole picture.
        `t`: int64 (batch,), timesteps 0 … T-1, larger is noisier.
        Raises UserError for a height or width that is no multiple of `size_multiple`.
        """

    def _joined(self, x_t: Tensor, cond: Tensor) -> Tensor:
        """Both pictures on one channel axis, (batch, 3 + channels of cond, height, width)."""
        height, width = x_t.shape[-2:]
        multiple = self.size_multiple
        if height % multiple != 0 or width % multiple != 0:
            raise UserError(f"x_t is {height} x {width} pixels: this model needs multiples of {multiple}; resize it")
        return torch.cat([x_t, cond], dim=1)
