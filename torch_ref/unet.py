"""The residual family: a space-to-depth stem, GroupNorm, and the time in every block."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torch_ref.base import UNet
from torch_ref.blocks import Level, ResBlock, TimeEmbedding, conv3x3


class ResidualUNet(UNet):
    """Residual U-Net over patch x patch pixel blocks (Ho et al. 2020, appendix B, made cheap for CPUs).

    `width`: channels of the first level. `multipliers`: channels of each level as
    multiples of it; each level halves the side. `blocks`: residual blocks per level, on
    the way down and on the way up. `groups`: of every GroupNorm.
    """

    def __init__(
        self, width: int, multipliers: Sequence[int], blocks: int = 2, groups: int = 8, patch: int = 2
    ) -> None:
        super().__init__()
        channels = [width * multiplier for multiplier in multipliers]
        last = len(channels) - 1
        time_channels = 4 * width
        self.patch = patch
        self.size_multiple = patch * 2**last
        self.time_embedding = TimeEmbedding(width)
        self.time_in = nn.Linear(2 * width, time_channels)
        self.time_out = nn.Linear(time_channels, time_channels)
        self.stem = conv3x3(6 * patch * patch, width)

        def residuals(first: int, rest: int) -> list[ResBlock]:
            return [ResBlock(first if j == 0 else rest, rest, time_channels, groups) for j in range(blocks)]

        before = [width, *channels[:-1]]
        self.down = nn.ModuleList(
            Level(residuals(before[i], c), conv3x3(c, c, stride=2) if i < last else None)
            for i, c in enumerate(channels)
        )
        self.middle = nn.ModuleList(ResBlock(channels[-1], channels[-1], time_channels, groups) for _ in range(2))
        self.up = nn.ModuleList(
            Level(residuals(2 * c, c), nn.Conv2d(c, channels[i - 1], 1) if i > 0 else None)
            for i, c in enumerate(channels)
        )
        self.norm_out = nn.GroupNorm(groups, channels[0], eps=1e-5)
        self.conv_out = conv3x3(channels[0], 3 * patch * patch)

    def forward(self, x_t: Tensor, cond: Tensor, t: Tensor) -> Tensor:
        x = self.stem(F.pixel_unshuffle(self._joined(x_t, cond), self.patch))
        emb = self.time_embedding(t, x.dtype)
        emb = F.silu(self.time_out(F.silu(self.time_in(emb))))
        skips: list[Tensor] = []
        for level in self.down:
            x = level(x, emb)
            skips.append(x)
            if level.resample is not None:
                x = level.resample(x)
        for block in self.middle:
            x = block(x, emb)
        for level in reversed(self.up):
            x = level(torch.cat([x, skips.pop()], dim=1), emb)
            if level.resample is not None:
                x = F.interpolate(level.resample(x), scale_factor=2.0, mode="nearest")
        return F.pixel_shuffle(self.conv_out(F.silu(self.norm_out(x))), self.patch)
