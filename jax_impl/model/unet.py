"""The residual family: a space-to-depth stem, GroupNorm, and the time in every block."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from jax_impl.config import UNetModelConfig
from jax_impl.model.blocks import (
    ResBlock,
    conv1x1,
    conv3x3,
    depth_to_space,
    group_norm,
    sinusoidal_embedding,
    space_to_depth,
    upsample_nearest,
)

AFFINE_TERMS = 7
"""Three channels of x_t, three of cond, and a constant."""


class Level(nnx.Module):
    """Residual blocks at one resolution, and the layer that leads to the next one, if any."""

    def __init__(self, blocks: list[ResBlock], resample: nnx.Conv | None) -> None:
        self.blocks = nnx.List(blocks)
        self.resample = resample

    def __call__(self, x: jax.Array, emb: jax.Array) -> jax.Array:
        """Run the blocks, not the resampling, on (batch, height, width, channels)."""
        for block in self.blocks:
            x = block(x, emb)
        return x


class UNet(nnx.Module):
    """Residual U-Net over patch × patch pixel blocks (Ho et al. 2020, appendix B, made cheap for CPUs).

    The stem folds pixels into channels, so every convolution runs at 1/patch of the
    side; the head unfolds them again. The affine head adds a local colour change of the
    input pictures, which starts as a copy of cond and keeps its edges.
    """

    def __init__(self, config: UNetModelConfig, *, rngs: nnx.Rngs) -> None:
        width, groups = config.width, config.groups
        channels = [width * m for m in config.multipliers]
        time_channels = 4 * width
        folded = config.patch * config.patch
        self.patch = config.patch
        self.time_in = nnx.Linear(2 * width, time_channels, rngs=rngs)
        self.time_out = nnx.Linear(time_channels, time_channels, rngs=rngs)
        self.stem = conv3x3(6 * folded, width, rngs)

        down, current = [], width
        for i, c in enumerate(channels):
            blocks = [ResBlock(current if j == 0 else c, c, time_channels, groups, rngs) for j in range(config.blocks)]
            last = i == len(channels) - 1
            down.append(Level(blocks, None if last else conv3x3(c, c, rngs, stride=2)))
            current = c
        self.down = nnx.List(down)
        self.middle = nnx.List([ResBlock(current, current, time_channels, groups, rngs) for _ in range(2)])

        up = []
        for i, c in enumerate(channels):
            blocks = [ResBlock(2 * c if j == 0 else c, c, time_channels, groups, rngs) for j in range(config.blocks)]
            up.append(Level(blocks, conv1x1(c, channels[i - 1], rngs) if i > 0 else None))
        self.up = nnx.List(up)

        self.norm_out = group_norm(channels[0], groups, rngs)
        self.conv_out = conv3x3(channels[0], 3 * folded, rngs, zero=True)
        self.affine_out = conv3x3(channels[0], 3 * AFFINE_TERMS, rngs, zero=True) if config.head == "affine" else None

    def __call__(self, x_t: jax.Array, cond: jax.Array, t: jax.Array, *, train: bool) -> jax.Array:
        """x_t, cond (batch, height, width, 3), t integers (batch,); returns (batch, height, width, 3).

        `train` changes nothing here: no layer of this family behaves differently.
        """
        del train
        emb = sinusoidal_embedding(t, self.time_in.in_features, x_t.dtype)
        emb = nnx.silu(self.time_out(nnx.silu(self.time_in(emb))))
        x = self.stem(space_to_depth(jnp.concatenate([x_t, cond], axis=-1), self.patch))
        skips = []
        for level in self.down:
            x = level(x, emb)
            skips.append(x)
            if level.resample is not None:
                x = level.resample(x)
        for block in self.middle:
            x = block(x, emb)
        for level in reversed(list(self.up)):
            x = level(jnp.concatenate([x, skips.pop()], axis=-1), emb)
            if level.resample is not None:
                x = upsample_nearest(level.resample(x))
        features = nnx.silu(self.norm_out(x))
        output = depth_to_space(self.conv_out(features), self.patch)
        if self.affine_out is None:
            return output
        return output + recolour(self.affine_out(features), x_t, cond, self.patch)


def recolour(coefficients: jax.Array, x_t: jax.Array, cond: jax.Array, patch: int) -> jax.Array:
    """A local affine colour change of both pictures, (batch, height, width, 3).

    coefficients: (batch, height/patch, width/patch, 3 · AFFINE_TERMS), for each output
    channel the weights of x_t's channels, of cond's, and a constant, as departures from
    copying cond. They are interpolated bilinearly, so colours change smoothly while
    edges stay those of the pictures (bilateral guided upsampling, Chen et al. 2016,
    without its guide; Gharbi et al. 2017).
    """
    b, h, w, c = coefficients.shape
    weights = jax.image.resize(coefficients, (b, h * patch, w * patch, c), "linear")
    weights = weights.reshape(b, h * patch, w * patch, 3, AFFINE_TERMS)
    terms = jnp.concatenate([x_t, cond, jnp.ones_like(cond[..., :1])], axis=-1)
    return cond + jnp.sum(weights * terms[..., None, :], axis=-1)
