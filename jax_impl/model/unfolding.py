"""From features of pixel blocks to pixels, without the lattice of the blocks: convolutions at full resolution."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from jax_impl.model.blocks import Dtype, conv3x3, depth_to_space
from jax_impl.shapes import Array, Float


class Refinement(nnx.Module):
    """Features of blocks, unfolded, then 3 × 3 convolutions on single pixels that also see the input picture.

    Depth-to-space alone gives each pixel of a block weights of its own, which shows as a lattice (Odena et al. 2016).
    Here all pixels share those of the last layers. The unfolding starts with the same weights for every pixel of a
    block (Aitken et al. 2017, "ICNR"), or interpolates bilinearly; the last convolution starts at zero.
    """

    def __init__(self, channels: tuple[int, int], count: int, rngs: nnx.Rngs, dtype: Dtype = None) -> None:
        """`channels`: of the features, also between the `count` convolutions, of which there is at least one; and of
        the picture."""
        width, out = channels
        before = [width + out, *[width] * (count - 1)]
        self.convs = nnx.List(
            conv3x3(size, width if i < count - 1 else out, rngs, zero=i == count - 1, dtype=_dtype(i, count, dtype))
            for i, size in enumerate(before)
        )

    def __call__(
        self, features: Float[Array, "batch height width channels"], cond: Float[Array, "batch height width out"]
    ) -> Float[Array, "batch height width out"]:
        """Features and the input picture, both at full resolution, to a picture."""
        x = jnp.concatenate([nnx.silu(features), cond], axis=-1)
        *inner, last = self.convs
        for conv in inner:
            x = nnx.silu(conv(x))
        return last(x.astype(cond.dtype))


def _dtype(number: int, count: int, dtype: Dtype) -> Dtype:
    """Of one of the convolutions; the last computes in the weights' own."""
    return dtype if number < count - 1 else None


def output_conv(channels: tuple[int, int], patch: int, smooth: bool, rngs: nnx.Rngs, *, zero: bool) -> nnx.Conv:
    """The convolution before the unfolding, from and to so many `channels`: starting at `zero` where it ends in a
    picture, else with the same weights for every pixel of a block."""
    before, after = channels
    count = 1 if smooth else patch * patch
    conv = conv3x3(before, after * count, rngs, zero=zero)
    if not zero:
        # Channels are in the order (channel, row, column) of `depth_to_space`.
        conv.kernel[...] = jnp.repeat(conv.kernel[...][..., ::count], count, axis=-1)
    return conv


def unfold(
    x: Float[Array, "batch rows columns channels"], patch: int, smooth: bool
) -> Float[Array, "batch height width unfolded"]:
    """Blocks to pixels: by depth-to-space, or bilinearly between the blocks' centres (`smooth`)."""
    if not smooth:
        return depth_to_space(x, patch)
    b, rows, columns, channels = x.shape
    return jax.image.resize(x, (b, rows * patch, columns * patch, channels), "linear")
