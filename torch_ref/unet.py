"""The residual family: a space-to-depth stem, GroupNorm, and the time in every block."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torch_ref.base import UNet
from torch_ref.blocks import Level, ResBlock, TimeEmbedding, conv3x3

AFFINE_TERMS = 7
"""Three channels of x_t, three of cond, and a constant."""


class ResidualUNet(UNet):
    """Residual U-Net over patch x patch pixel blocks (Ho et al. 2020, appendix B, made cheap for CPUs).

    `width`: channels of the first level. `multipliers`: channels of each level as
    multiples of it; each level halves the side. `blocks`: residual blocks per level, on
    the way down and on the way up. `groups`: of every GroupNorm. `head`: "affine" adds a local
    colour change of the input pictures to the output, "plain" does not.
    """

    def __init__(
        self,
        width: int,
        multipliers: Sequence[int],
        blocks: int = 2,
        groups: int = 8,
        patch: int = 2,
        head: str = "affine",
    ) -> None:
        super().__init__()
        if head not in ("plain", "affine"):
            raise ValueError(f"head is {head!r}: choose plain or affine")
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
        self.affine_out = conv3x3(channels[0], 3 * AFFINE_TERMS) if head == "affine" else None

    def forward(self, x_t: Tensor, cond: Tensor, t: Tensor) -> Tensor:
        pictures = self._joined(x_t, cond)
        x = self.stem(F.pixel_unshuffle(pictures, self.patch))
        emb = self.time_embedding(t, x.dtype)
        emb = F.silu(self.time_out(F.silu(self.time_in(emb))))
        skips: list[Tensor] = []
        for level in _levels(self.down):
            x = level(x, emb)
            skips.append(x)
            if level.resample is not None:
                x = level.resample(x)
        for block in self.middle:
            x = block(x, emb)
        for level in reversed(_levels(self.up)):
            x = level(torch.cat([x, skips.pop()], dim=1), emb)
            if level.resample is not None:
                x = F.interpolate(level.resample(x), scale_factor=2.0, mode="nearest")
        features = F.silu(self.norm_out(x))
        output = F.pixel_shuffle(self.conv_out(features), self.patch)
        if self.affine_out is None:
            return output
        return output + recolour(self.affine_out(features), x_t, cond, self.patch)


def recolour(coefficients: Tensor, x_t: Tensor, cond: Tensor, patch: int) -> Tensor:
    """A local affine colour change of both pictures, (batch, 3, height, width).

    `coefficients`: (batch, 3 * AFFINE_TERMS, height/patch, width/patch), for each output
    channel the weights of x_t's channels, of cond's, and a constant, as departures from
    copying cond; interpolated bilinearly (Gharbi et al. 2017).
    """
    if patch > 1:
        coefficients = F.interpolate(coefficients, scale_factor=float(patch), mode="bilinear", align_corners=False)
    weights = coefficients.unflatten(1, (3, AFFINE_TERMS))
    terms = torch.cat([x_t, cond, torch.ones_like(cond[:, :1])], dim=1)
    return cond + (weights * terms[:, None]).sum(dim=2)


def _levels(levels: nn.ModuleList) -> list[Level]:
    """The same levels, as what they are."""
    return [level for level in levels if isinstance(level, Level)]
