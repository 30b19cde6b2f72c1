"""Building blocks that the networks share."""

from __future__ import annotations

import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jax_impl.shapes import Array, Features, Float, RandomKey, Timesteps

NORM_EPSILON = 1e-5
"""Added to the variance in every normalisation; torch's default, not Flax's for GroupNorm."""
BATCH_NORM_MOMENTUM = 0.1
"""Weight of the newest batch in BatchNorm's running statistics, as torch counts it."""


Dtype = jnp.dtype | None
"""What a layer computes in, whatever its float32 weights are; None follows weights and input."""


def conv3x3(
    in_channels: int, out_channels: int, rngs: nnx.Rngs, *, stride: int = 1, zero: bool = False, dtype: Dtype = None
) -> nnx.Conv:
    """A 3×3 convolution with one pixel of zero padding on every side.

    The padding is spelled out because "SAME" pads an even side by (0, 1) under stride
    2, where torch pads (1, 1). `zero` starts the kernel at zero, so that a residual
    branch begins as the identity.
    """
    kernel_init = nnx.initializers.zeros if zero else nnx.initializers.lecun_normal()
    padding = ((1, 1), (1, 1))
    return nnx.Conv(
        in_channels, out_channels, (3, 3), strides=stride, padding=padding, dtype=dtype, kernel_init=kernel_init,
        rngs=rngs,
    )  # fmt: skip


def conv1x1(
    in_channels: int, out_channels: int, rngs: nnx.Rngs, *, zero: bool = False, dtype: Dtype = None
) -> nnx.Conv:
    """A linear map of every pixel's channels; `zero` starts it at zero."""
    kernel_init = nnx.initializers.zeros if zero else nnx.initializers.lecun_normal()
    return nnx.Conv(in_channels, out_channels, (1, 1), dtype=dtype, kernel_init=kernel_init, rngs=rngs)


class BatchNorm(nnx.Module):
    """Batch normalisation (Ioffe & Szegedy 2015, algorithm 1) that keeps torch's statistics.

    The batch is normalised by its biased variance, while the running variance collects
    the unbiased one, n / (n - 1) times larger: `nnx.BatchNorm` keeps the biased one,
    and the two frameworks would drift apart in training. All is computed in the
    parameters' float32 or more, and the output has the input's dtype.
    """

    def __init__(self, channels: int) -> None:
        self.scale = nnx.Param(jnp.ones(channels))
        self.bias = nnx.Param(jnp.zeros(channels))
        self.mean = nnx.BatchStat(jnp.zeros(channels))
        self.var = nnx.BatchStat(jnp.ones(channels))

    def __call__(self, x: Features, *, train: bool) -> Features:
        """Normalise (batch, height, width, channels); `train` uses and collects the batch's statistics."""
        dtype = x.dtype
        x = x.astype(wider(dtype, self.scale[...].dtype))
        if train:
            mean = jnp.mean(x, axis=(0, 1, 2))
            var = jnp.mean(jnp.square(x - everywhere(mean)), axis=(0, 1, 2))
            count = x.size // x.shape[-1]
            unbiased = jax.lax.stop_gradient(var) * (count / max(count - 1, 1))
            self.mean[...] += BATCH_NORM_MOMENTUM * (jax.lax.stop_gradient(mean) - self.mean[...])
            self.var[...] += BATCH_NORM_MOMENTUM * (unbiased - self.var[...])
        else:
            mean, var = self.mean[...], self.var[...]
        scale = jax.lax.rsqrt(var + NORM_EPSILON) * self.scale[...]
        y = (x - everywhere(mean)) * everywhere(scale) + everywhere(self.bias[...])
        return y.astype(dtype)


def everywhere(values: Float[Array, " channels"]) -> Float[Array, "1 1 1 channels"]:
    """A value for each channel, (channels,), as (1, 1, 1, channels)."""
    return values[None, None, None, :]


class GroupNorm(nnx.GroupNorm):
    """Group normalisation (Wu & He 2018) with the variance computed in two passes.

    Its scale is float32 or more, and so are its statistics and its output, whatever comes in.
    """

    def __init__(self, channels: int, groups: int, rngs: nnx.Rngs) -> None:
        super().__init__(channels, num_groups=groups, epsilon=NORM_EPSILON, use_fast_variance=False, rngs=rngs)

    def __call__(self, x: Features, *, mask: jax.Array | None = None) -> Features:
        """Normalise (batch, height, width, channels)."""
        assert self.scale is not None
        x = x.astype(wider(x.dtype, self.scale[...].dtype))
        # Flax joins the input's dtype with float32, which strict promotion refuses for float64.
        with jax.numpy_dtype_promotion("standard"):
            return super().__call__(x, mask=mask)


def wider(a: jnp.dtype, b: jnp.dtype) -> jnp.dtype:
    """The kind of floating-point number with more bits, a if they have as many."""
    return b if jnp.finfo(b).bits > jnp.finfo(a).bits else a


def sinusoidal_embedding(t: Timesteps, channels: int, dtype: jax.typing.DTypeLike) -> Float[Array, "batch {channels}"]:
    """Sine and cosine of the timestep at geometrically spaced frequencies (Vaswani et al. 2017, section 3.5).

    t: integers (batch,). Returns (batch, channels) in [-1, 1]: sines first, then cosines.
    """
    half = channels // 2
    # On the host in float64: at t = 999 one rounding of a float32 frequency turns the angle by 6e-5.
    frequencies = jnp.asarray(np.exp(-math.log(10_000.0) * np.arange(half) / half), dtype)
    angles = t.astype(dtype)[:, None] * frequencies[None, :]
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def space_to_depth(
    x: Features, patch: int
) -> Float[Array, "batch height//{patch} width//{patch} channels*{patch}*{patch}"]:
    """Fold patch × patch pixels into channels: (b, h, w, c) to (b, h/p, w/p, c·p²), channel order (c, row, column)."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // patch, patch, w // patch, patch, c)
    return x.transpose(0, 1, 3, 5, 2, 4).reshape(b, h // patch, w // patch, c * patch * patch)


def depth_to_space(
    x: Features, patch: int
) -> Float[Array, "batch height*{patch} width*{patch} channels//{patch}//{patch}"]:
    """The inverse of `space_to_depth`: (b, h, w, c·p²) to (b, h·p, w·p, c)."""
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, c // (patch * patch), patch, patch)
    return x.transpose(0, 1, 4, 2, 5, 3).reshape(b, h * patch, w * patch, c // (patch * patch))


def upsample_nearest(x: Features) -> Float[Array, "batch 2*height 2*width channels"]:
    """Repeat every pixel twice in height and width: (b, h, w, c) to (b, 2h, 2w, c)."""
    b, h, w, c = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None, :], (b, h, 2, w, 2, c)).reshape(b, 2 * h, 2 * w, c)


def upsample_bilinear(
    x: Features,
) -> Float[Array, "batch 2*height 2*width channels"]:
    """Double the side between pixel centres, edges held: (b, h, w, c) to (b, 2h, 2w, c)."""
    b, h, w, c = x.shape
    return jax.image.resize(x, (b, 2 * h, 2 * w, c), "linear")


def average_pool(x: Features) -> Float[Array, "batch height//2 width//2 channels"]:
    """Means of 2 × 2 pixels: (b, h, w, c) to (b, h // 2, w // 2, c)."""
    windows = (1, 2, 2, 1)
    return jax.lax.reduce_window(x, 0.0, jax.lax.add, windows, windows, "VALID") / 4


def dropout(x: Float[Array, "*shape"], rate: float, key: RandomKey | None) -> Float[Array, "*shape"]:
    """Set each element to zero with probability `rate`, the others times 1 / (1 - rate) (Srivastava et al. 2014).

    Without a key nothing is dropped.
    """
    if key is None or rate == 0.0:
        return x
    return jnp.where(jax.random.bernoulli(key, 1.0 - rate, x.shape), x / (1.0 - rate), 0.0)


class ResBlock(nnx.Module):
    """Two convolutions with a residual path, told the time between them.

    Pre-activation residual block (He et al. 2016b). With `modulation` "scale_shift" the
    time embedding scales and shifts the second norm, FiLM conditioning (Perez et al.
    2018) as in Dhariwal & Nichol 2021, section 3; with "add" it is added before that
    norm, as in Ho et al. 2020.
    """

    def __init__(
        self,
        channels: tuple[int, int],
        time_channels: int,
        groups: int,
        rngs: nnx.Rngs,
        *,
        modulation: Literal["scale_shift", "add"] = "scale_shift",
        dropout: float = 0.0,
        dtype: Dtype = None,
    ) -> None:
        """`channels`: in and out."""
        in_channels, out_channels = channels
        self.add, self.dropout = modulation == "add", dropout
        self.norm1 = GroupNorm(in_channels, groups, rngs)
        self.conv1 = conv3x3(in_channels, out_channels, rngs, dtype=dtype)
        self.time = nnx.Linear(time_channels, out_channels if self.add else 2 * out_channels, dtype=dtype, rngs=rngs)
        self.norm2 = GroupNorm(out_channels, groups, rngs)
        self.conv2 = conv3x3(out_channels, out_channels, rngs, zero=True, dtype=dtype)
        self.skip = conv1x1(in_channels, out_channels, rngs, dtype=dtype) if in_channels != out_channels else None

    def __call__(
        self,
        x: Float[Array, "batch height width in_channels"],
        emb: Float[Array, "batch time_channels"],
        key: RandomKey | None = None,
    ) -> Float[Array, "batch height width out_channels"]:
        """x (batch, height, width, in_channels) and emb (batch, time_channels); the output has out_channels.

        `key` decides what is dropped; None in evaluation.
        """
        h = self.conv1(nnx.silu(self.norm1(x)))
        time = self.time(emb)[:, None, None, :]
        if self.add:
            h = self.norm2(h + time)
        else:
            scale, shift = jnp.split(time, 2, axis=-1)
            h = self.norm2(h)
            h = h * (1 + scale).astype(h.dtype) + shift.astype(h.dtype)
        h = self.conv2(dropout(nnx.silu(h), self.dropout, key))
        return h + (x if self.skip is None else self.skip(x))
