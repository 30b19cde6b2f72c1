"""Building blocks of the residual family."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TimeEmbedding(nn.Module):
    """Sinusoidal embedding of integer timesteps (Vaswani et al. 2017, section 3.5): sines, then cosines.

    Frequency k of `half` is 10000^(-k / half). They are computed in float64 and rounded
    once: at t = 999 one unit in the last place of a float32 frequency is already 6e-5
    of a radian, and `exp` differs by that much from one library to the next.
    """

    frequencies: Tensor

    def __init__(self, half: int) -> None:
        super().__init__()
        frequencies = torch.exp(-math.log(10000.0) * torch.arange(half, dtype=torch.float64) / half)
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, t: Tensor, dtype: torch.dtype) -> Tensor:
        """(batch, 2 * half) of `dtype` for int64 `t` (batch,)."""
        angle = t.to(dtype)[:, None] * self.frequencies.to(dtype)[None, :]
        return torch.cat([torch.sin(angle), torch.cos(angle)], dim=1)


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution with one pixel of zero padding on every side."""
    return nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1)


class GroupNorm(nn.GroupNorm):
    """Group normalisation (Wu & He 2018) that also takes one value a group, as at 1 x 1 with a channel a group.

    torch's module assumes that it trains, and refuses that. Here it gives the bias, as in JAX and in the ONNX graph.
    """

    def __init__(self, groups: int, channels: int) -> None:
        super().__init__(groups, channels, eps=1e-5)

    def forward(self, input: Tensor) -> Tensor:
        """(batch, channels, ...) to the same shape."""
        return torch.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)


class ResBlock(nn.Module):
    """Pre-activation residual block (He et al. 2016b), told the time between its convolutions.

    With `modulation` "scale_shift" the time scales and shifts the second norm (Perez et al. 2018; Dhariwal &
    Nichol 2021, section 3); with "add" it is added before that norm (Ho et al. 2020).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        time_channels: int,
        groups: int,
        modulation: str = "scale_shift",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if modulation not in ("scale_shift", "add"):
            raise ValueError(f"time_modulation is {modulation!r}: choose scale_shift or add")
        self.add = modulation == "add"
        self.norm1 = GroupNorm(groups, in_channels)
        self.conv1 = conv3x3(in_channels, out_channels)
        self.time = nn.Linear(time_channels, out_channels if self.add else 2 * out_channels)
        self.norm2 = GroupNorm(groups, out_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = conv3x3(out_channels, out_channels)
        self.skip = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """(batch, in_channels, height, width) to (batch, out_channels, height, width); `emb` (batch, time_channels)."""
        h = self.conv1(F.silu(self.norm1(x)))
        time = self.time(emb)[:, :, None, None]
        if self.add:
            h = self.norm2(h + time)
        else:
            scale, shift = time.chunk(2, dim=1)
            h = self.norm2(h) * (1 + scale) + shift
        h = self.conv2(self.dropout(F.silu(h)))
        return h + (x if self.skip is None else self.skip(x))
