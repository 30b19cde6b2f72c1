"""Generator and discriminator of pix2pix (Isola et al. 2017, arXiv:1611.07004, section 6.1), at any power of two.

The paper's pictures have 256 pixels a side. Smaller ones get the same networks with fewer levels, see `generator` and
`discriminator`. Normalisation uses the statistics of the batch at hand, in training and afterwards, and so keeps none.
"""

from __future__ import annotations

import torch
from torch import nn

SLOPE = 0.2
"""Of LeakyReLU."""
DEVIATION = 0.02
"""Standard deviation of the first weights."""


class Level(nn.Module):
    """One level of the U-Net and all below it: `concat(x, up(inner(down(x))))`, the outermost without the copy of x."""

    def __init__(self, down: nn.Module, inner: nn.Module | None, up: nn.Module, *, outermost: bool) -> None:
        super().__init__()
        self.down, self.inner, self.up, self.outermost = down, inner, up, outermost

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, channels, side, side) to (batch, channels of `up`, plus those of x, side, side)."""
        below = self.down(x)
        out = self.up(below if self.inner is None else self.inner(below))
        return out if self.outermost else torch.cat([x, out], dim=1)


def levels_of(size: int) -> int:
    """How often a picture of that side is halved until one pixel is left: 8 times for the paper's 256."""
    return size.bit_length() - 1


def generator(size: int, width: int) -> nn.Module:
    """The U-Net, from the input to the target, (batch, 3, size, size) in [-1, 1] both.

    Encoder: `width` channels at the first level, then twice, four and eight times as many, at most eight; every level
    halves the side, down to one pixel. The innermost level is not normalised: with batches of one, the statistics of
    one pixel would make it zero (the paper's erratum). Half of the activations of the innermost decoder levels are
    dropped, of three at 256 pixels and of one fewer for each halving of the side, at least one.

    Args:
        size: side of the pictures, a power of two from 16.
        width: channels of the outermost level, 64 in the paper.
    """
    levels = levels_of(size)
    channels = [width * min(2**i, 8) for i in range(levels)]
    dropped = max(1, levels - 5)
    inner: nn.Module | None = None
    for i in reversed(range(levels)):
        outermost, innermost = i == 0, i == levels - 1
        above = 3 if outermost else channels[i - 1]
        down: list[nn.Module] = [] if outermost else [nn.LeakyReLU(SLOPE)]
        down.append(nn.Conv2d(above, channels[i], 4, stride=2, padding=1))
        if not outermost and not innermost:
            down.append(_norm(channels[i]))
        arriving = channels[i] * (1 if innermost else 2)
        up: list[nn.Module] = [nn.ReLU(), nn.ConvTranspose2d(arriving, above, 4, stride=2, padding=1)]
        if outermost:
            up.append(nn.Tanh())
        else:
            up.append(_norm(above))
            up += [nn.Dropout(0.5)] if i >= levels - dropped else []
        inner = Level(nn.Sequential(*down), inner, nn.Sequential(*up), outermost=outermost)
    assert inner is not None
    inner.apply(_begin)
    return inner


def discriminator(size: int, width: int) -> nn.Module:
    """The PatchGAN: (batch, 6, size, size), input and target together, to one logit for each overlapping patch.

    Patches have 70 × 70 pixels from 128 pixels on (C64-C128-C256-C512 of the paper), 34 × 34 at 64, where 70 would be
    the whole picture, and 16 × 16 below.

    Args:
        size: side of the pictures, pixels.
        width: channels of the first layer, 64 in the paper.
    """
    halvings = 3 if size >= 128 else 2 if size >= 64 else 1
    layers: list[nn.Module] = [nn.Conv2d(6, width, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE)]
    for i in range(1, halvings + 1):
        before, after = width * 2 ** (i - 1), width * 2**i
        layers.append(nn.Conv2d(before, after, 4, stride=2 if i < halvings else 1, padding=1))
        layers += [_norm(after), nn.LeakyReLU(SLOPE)]
    layers.append(nn.Conv2d(width * 2**halvings, 1, 4, padding=1))
    network = nn.Sequential(*layers)
    network.apply(_begin)
    return network


def _norm(channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels, track_running_stats=False)


def _begin(module: nn.Module) -> None:
    """The first weights: normal with DEVIATION, around 1 for scales; biases zero."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0 if isinstance(module, nn.BatchNorm2d) else 0.0, DEVIATION)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
