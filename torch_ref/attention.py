"""Attention over the positions of a picture's features, and the features of cond that it may look at."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torch_ref.blocks import GroupNorm, conv3x3


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(channels)) v for every head (Vaswani et al. 2017, eq. 1).

    q: (batch, heads, channels, queries); k, v: (batch, heads, channels, keys); returns q's shape.
    """
    weights = torch.softmax(q.transpose(2, 3) @ k / math.sqrt(q.shape[2]), dim=-1)
    return v @ weights.transpose(2, 3)


class Attention(nn.Module):
    """Multi-head self-attention with a residual path (Ho et al. 2020, appendix B).

    With `context_channels` the keys and values of a context are appended to its own, so
    that one softmax weighs both (Nichol et al. 2022, section 3).
    """

    def __init__(self, channels: int, head_channels: int, groups: int, context_channels: int | None = None) -> None:
        super().__init__()
        if channels % head_channels != 0:
            raise ValueError(f"head_channels is {head_channels}: choose a divisor of {channels}")
        self.head_channels = head_channels
        self.norm = GroupNorm(groups, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.context = nn.Conv2d(context_channels, 2 * channels, 1) if context_channels is not None else None
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """x (batch, channels, height, width), context (batch, context_channels, any, any); returns x's shape."""
        q, k, v = self._heads(self.qkv(self.norm(x)), 3)
        if self.context is not None:
            context_k, context_v = self._heads(self.context(context), 2)
            k, v = torch.cat([k, context_k], dim=3), torch.cat([v, context_v], dim=3)
        return x + self.out(attend(q, k, v).flatten(1, 2).unflatten(2, x.shape[2:]))

    def _heads(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """(b, parts * heads * channels, h, w) as `parts` tensors (b, heads, channels, h * w)."""
        return x.flatten(2).unflatten(1, (parts, -1, self.head_channels)).unbind(1)


class CondEncoder(nn.Module):
    """Features of the guiding picture at the network's lowest resolution, for attention to look at.

    `channels`: of each level, the first one at 1/patch of the side; `cond_channels`: of cond.
    """

    def __init__(self, channels: Sequence[int], patch: int, groups: int, cond_channels: int = 3) -> None:
        super().__init__()
        self.patch = patch
        self.stem = conv3x3(cond_channels * patch * patch, channels[0])
        self.norms = nn.ModuleList(GroupNorm(groups, c) for c in channels)
        steps = itertools.pairwise(channels)
        self.convs = nn.ModuleList(conv3x3(before, after, stride=2) for before, after in steps)

    def forward(self, cond: Tensor) -> Tensor:
        """cond (batch, any, height, width) to (batch, channels[-1], height/m, width/m), m = patch * 2^(levels-1)."""
        x = self.stem(F.pixel_unshuffle(cond, self.patch))
        for norm, conv in zip(self.norms, self.convs, strict=False):
            x = conv(F.silu(norm(x)))
        return self.norms[-1](x)
