"""Texture: the distribution of small patches of input and output together, compared by sliced Wasserstein distance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp

from jax_impl.config.checks import require
from jax_impl.diffusion.losses.registry import LOSSES, LossConfig, LossSample, Parts, Term
from jax_impl.model.blocks import average_pool, upsample_bilinear
from jax_impl.shapes import Array, Features, Float, RandomKey

SIDE = 7
"""Side of a patch, pixels."""
FLOOR = 0.02
"""Added to every standard deviation that a band is divided by: a flat band stays flat."""


@dataclass(frozen=True)
class TextureConfig(LossConfig):
    """Sliced Wasserstein distance between patches of (input, output) and patches of (input, target).

    It punishes blur, which an error of each pixel rewards. Patches of both pictures are compared together, so the
    texture has to stand where the input wants it.
    """

    term: Literal["texture"] = "texture"
    levels: int = 3
    """Most levels of the Laplacian pyramid, 1 to 8; each halves the side."""
    directions: int = 32
    """Random directions for each level and step, 1 to 1024."""
    patches: int = 2048
    """Most patches of a level that are compared, at least 16; of more, those on a coarser random grid."""

    over_batch: ClassVar[bool] = True
    on_parts: ClassVar[str] = (
        "gradient accumulation compares the patches of each part of the batch by themselves; several devices compare "
        "those of the whole batch"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require(1 <= self.levels <= 8, "losses.texture.levels", self.levels, "choose 1 to 8")
        require(1 <= self.directions <= 1024, "losses.texture.directions", self.directions, "choose 1 to 1024")
        require(self.patches >= 16, "losses.texture.patches", self.patches, "choose at least 16")

    def create(self) -> Term:
        """A term over the batch, a scalar; its gradient comes from the output as it is, not clamped.

        What lies outside [-1, 1] is thus pulled back, where a clamp would leave it without a gradient.
        """

        def texture(sample: LossSample, key: RandomKey, aux: Mapping[str, Any]) -> tuple[jax.Array, Parts]:
            channels = sample.x0.shape[-1]
            output, target, cond = (
                pyramid(picture, self.levels) for picture in (sample.x0_hat, sample.x0, sample.cond[..., :channels])
            )
            value = jnp.zeros((), sample.x0.dtype)
            for level, bands in enumerate(zip(output, target, cond, strict=True)):
                kernel_key, corner_key = jax.random.split(jax.random.fold_in(key, level))
                stride = grid_stride(bands[0].shape, self.patches)
                kernel = directions(kernel_key, bands[0].shape, self.directions, bands[0].dtype)
                corner = jax.random.randint(corner_key, (2,), 0, stride, jnp.int32)
                value = value + band_distance(bands, kernel, corner, stride)
            return value / len(output), {}

        return texture


def pyramid(pictures: Features, levels: int) -> list[jax.Array]:
    """Bands of a Laplacian pyramid (Burt & Adelson 1983), finest first: up to `levels`, none smaller than a patch.

    A band is what is left of a picture after its 2 × 2 means, doubled bilinearly, are taken away; the last is the
    means themselves.
    """
    bands = []
    while len(bands) < levels - 1 and all(side % 2 == 0 and side >= 2 * SIDE for side in pictures.shape[1:3]):
        means = average_pool(pictures)
        bands.append(pictures - upsample_bilinear(means))
        pictures = means
    return [*bands, pictures]


def grid_stride(shape: tuple[int, ...], patches: int) -> int:
    """Pixels between compared patches, in height and width, so that a band (batch, height, width, channels) has at
    most so many of them; 1 for all."""
    batch, height, width, _ = shape
    stride = 1
    while batch * _places(height, stride) * _places(width, stride) > patches and stride < min(height, width) - SIDE:
        stride += 1
    return stride


def _places(side: int, stride: int) -> int:
    """Places of a patch along a side whose first `stride` pixels are where the grid may begin."""
    return max(side - stride + 1 - SIDE, 0) // stride + 1


def directions(
    key: RandomKey, shape: tuple[int, ...], count: int, dtype: jax.typing.DTypeLike
) -> Float[Array, "side side both count"]:
    """Random unit vectors in the space of patches of two bands of `shape`, as kernels of a convolution."""
    _, height, width, channels = shape
    side = min(SIDE, height, width)
    kernel = jax.random.normal(key, (side, side, 2 * channels, count), dtype)
    return kernel / jnp.sqrt(jnp.sum(jnp.square(kernel), axis=(0, 1, 2), keepdims=True))


def band_distance(
    bands: tuple[Features, Features, Features],
    kernel: Float[Array, "side side both count"],
    corner: Array,
    stride: int,
) -> Float[Array, ""]:
    """Mean over the directions of the Wasserstein-1 distance between projected patches (Rabin et al. 2011).

    bands: of output, target and input; kernel: `directions`; corner: int32 (2,), where the grid of patches with that
    stride begins. Each channel is divided by the standard deviation of the target's, or the input's, over the batch.
    """
    output, target, cond = bands
    scale, cond = 1.0 / deviation(target), cond / deviation(cond)
    projected, wanted = (
        _project(jnp.concatenate([band * scale, cond], axis=-1), kernel, corner, stride) for band in (output, target)
    )
    return jnp.mean(jnp.abs(jnp.sort(projected, axis=1) - jnp.sort(jax.lax.stop_gradient(wanted), axis=1)))


def deviation(band: Features) -> Float[Array, "1 1 1 channels"]:
    """Standard deviation of each channel over the batch, with FLOOR added, as a constant."""
    return jax.lax.stop_gradient(jnp.std(band, axis=(0, 1, 2), keepdims=True, ddof=1) + FLOOR)


def _project(both: Features, kernel: Array, corner: Array, stride: int) -> Float[Array, "count patches"]:
    """Patches on the grid times every direction."""
    batch, height, width, channels = both.shape
    size, zero = (batch, height - stride + 1, width - stride + 1, channels), jnp.zeros((), corner.dtype)
    window = both if stride == 1 else jax.lax.dynamic_slice(both, (zero, corner[0], corner[1], zero), size)
    found = jax.lax.conv_general_dilated(
        window, kernel, (stride, stride), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return found.reshape(-1, found.shape[-1]).T


LOSSES.add("texture", TextureConfig)
