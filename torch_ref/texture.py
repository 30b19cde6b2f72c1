"""Sliced Wasserstein distance between patches of (input, output) and of (input, target), as in
`jax_impl.diffusion.losses.texture`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

SIDE = 7
"""Side of a patch, pixels."""
FLOOR = 0.02
"""Added to every standard deviation that a band is divided by."""


def pyramid(pictures: Tensor, levels: int) -> list[Tensor]:
    """Bands of a Laplacian pyramid (Burt & Adelson 1983), finest first: up to `levels`, none smaller than a patch."""
    bands = []
    while len(bands) < levels - 1 and all(side % 2 == 0 and side >= 2 * SIDE for side in pictures.shape[2:]):
        means = F.avg_pool2d(pictures, 2)
        bands.append(pictures - F.interpolate(means, scale_factor=2.0, mode="bilinear", align_corners=False))
        pictures = means
    return [*bands, pictures]


def grid_stride(shape: Sequence[int], patches: int) -> int:
    """Pixels between compared patches of a band (batch, channels, height, width), so that there are at most so many."""
    batch, _, height, width = shape

    def places(side: int, stride: int) -> int:
        return len(range(0, max(side - stride + 1 - SIDE, 0) + 1, stride))

    stride = 1
    while batch * places(height, stride) * places(width, stride) > patches and stride < min(height, width) - SIDE:
        stride += 1
    return stride


def draw_directions(shape: Sequence[int], count: int, generator: torch.Generator | None) -> Tensor:
    """Random unit vectors in the space of patches of two bands, as kernels (count, 2 * channels, side, side)."""
    side = min(SIDE, *shape[2:])
    kernel = torch.randn(count, 2 * shape[1], side, side, generator=generator)
    return kernel / kernel.flatten(1).norm(dim=1)[:, None, None, None]


def band_distance(bands: tuple[Tensor, Tensor, Tensor], kernel: Tensor, corner: tuple[int, int], stride: int) -> Tensor:
    """Mean over the directions of the Wasserstein-1 distance between projected patches (Rabin et al. 2011), a scalar.

    bands: of output, target and input; kernel: `draw_directions`; corner: where the grid of patches begins.
    """
    output, target, cond = bands

    def deviation(band: Tensor) -> Tensor:
        return band.std((0, 2, 3), keepdim=True).detach() + FLOOR

    def projected(band: Tensor) -> Tensor:
        both = torch.cat([band / deviation(target), cond / deviation(cond)], dim=1)
        height, width = (side - stride + 1 for side in both.shape[2:])
        window = both[:, :, corner[0] : corner[0] + height, corner[1] : corner[1] + width]
        return F.conv2d(window, kernel, stride=stride).transpose(0, 1).flatten(1).sort(dim=1).values

    return (projected(output) - projected(target).detach()).abs().mean()
