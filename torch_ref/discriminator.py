"""The patch discriminator of the realism stage, and what both sides of its game minimise, as in
`jax_impl.diffusion.losses.adversarial` (Huang et al. 2024, "R3GAN")."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2
"""Of the leaky ReLU below zero."""


class Discriminator(nn.Module):
    """Scores of patches of a picture, given its input; one for every 4 x 4 pixels, one for every 8 x 8."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        wide = 4 * width
        self.convs = nn.ModuleList(
            [
                nn.Conv2d(2 * channels, width, 4, 2, 1),
                nn.Conv2d(width, 2 * width, 4, 2, 1),
                nn.Conv2d(2 * width, wide, 3, 1, 1),
                nn.Conv2d(wide, wide, 4, 2, 1),
            ]
        )
        self.fine, self.coarse = nn.Conv2d(wide, 1, 1), nn.Conv2d(wide, 1, 3, padding=1)

    def forward(self, pictures: Tensor, cond: Tensor) -> Tensor:
        """Scores (batch, places) of pictures (batch, channels, height, width), the fine ones first."""
        x, features = torch.cat([pictures, cond], dim=1), []
        for conv in self.convs:
            x = F.leaky_relu(conv(x), SLOPE)
            features.append(x)
        return torch.cat([self.fine(features[2]).flatten(1), self.coarse(features[3]).flatten(1)], dim=1)


Scores = Callable[[Tensor, Tensor], Tensor]


class Shown(NamedTuple):
    """What a discriminator sees of a batch, pictures (batch, channels, height, width)."""

    cond: Tensor
    generated: Tensor
    real: Tensor


def changed(shown: Shown, shift: Sequence[int], hole: Sequence[int], contrast: Tensor, brightness: Tensor) -> Shown:
    """All three pictures with the same differentiable augmentation (Zhao et al. 2020).

    shift: pixels in height and width, 0 to twice an eighth of the side; hole: the upper left corner of a square a third
    of the side long; contrast and brightness: (batch, 1, 1, 1).
    """
    height, width = shown.real.shape[2:]
    kept = torch.ones(1, 1, height, width, dtype=shown.real.dtype)
    kept[:, :, hole[0] : hole[0] + height // 3, hole[1] : hole[1] + width // 3] = 0

    def change(pictures: Tensor) -> Tensor:
        mean = pictures.mean((1, 2, 3), keepdim=True)
        pictures = (pictures - mean) * contrast + mean + brightness
        margins = (width // 8, width // 8, height // 8, height // 8)
        padded = F.pad(pictures, margins, mode="reflect")
        return padded[:, :, shift[0] : shift[0] + height, shift[1] : shift[1] + width] * kept

    return Shown(*map(change, shown))


def generator_loss(scores: Scores, shown: Shown) -> Tensor:
    """softplus(D(real) - D(generated)) of each picture, (batch,)."""
    real = scores(shown.real, shown.cond).detach()
    return F.softplus(real - scores(shown.generated, shown.cond)).mean(1)


def discriminator_loss(scores: Scores, shown: Shown, gamma: float, penalty_every: int) -> Tensor:
    """softplus(D(generated) - D(real)) plus gamma / 2 times R1 and R2 (Mescheder et al. 2018) on every
    `penalty_every`-th picture; a scalar."""
    cond, generated, real = (pictures.detach() for pictures in shown)
    loss = F.softplus(scores(generated, cond) - scores(real, cond)).mean()
    for pictures in (real, generated):
        some = pictures[::penalty_every].clone().requires_grad_()
        mean = scores(some, cond[::penalty_every]).mean(1).sum()
        (slope,) = torch.autograd.grad(mean, some, create_graph=True)
        loss = loss + 0.5 * gamma * slope.square().sum((1, 2, 3)).mean()
    return loss
