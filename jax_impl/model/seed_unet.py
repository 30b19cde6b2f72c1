"""The seed network: a plain U-Net with BatchNorm and ReLU; the time enters once, at its bottleneck."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx

from jax_impl.config.checks import require
from jax_impl.model.blocks import BatchNorm, Dtype, conv3x3, everywhere
from jax_impl.model.registry import NetworkConfig
from jax_impl.shapes import Array, Cond, Features, Float, RandomKey, Timesteps

TIME_CHANNELS = 256


class ConvBlock(nnx.Module):
    """[Conv 3×3 → BatchNorm → ReLU] twice (Ronneberger et al. 2015, with padding and BatchNorm)."""

    def __init__(self, in_channels: int, out_channels: int, rngs: nnx.Rngs, dtype: Dtype = None) -> None:
        self.conv1 = conv3x3(in_channels, out_channels, rngs, dtype=dtype)
        self.norm1 = BatchNorm(out_channels)
        self.conv2 = conv3x3(out_channels, out_channels, rngs, dtype=dtype)
        self.norm2 = BatchNorm(out_channels)

    def __call__(
        self, x: Float[Array, "batch height width in_channels"], *, train: bool
    ) -> Float[Array, "batch height width out_channels"]:
        """(batch, height, width, in_channels) to (batch, height, width, out_channels)."""
        x = nnx.relu(self.norm1(self.conv1(x), train=train))
        return nnx.relu(self.norm2(self.conv2(x), train=train))


class UpConv(nnx.ConvTranspose):
    """ConvTranspose 2×2 of stride 2, whose windows do not overlap: one linear map of every pixel to four.

    Written as the matrix product that it is. As a convolution with a dilated input its
    gradient took two fifths of a training step of XLA on a CPU.
    """

    def __init__(self, in_channels: int, out_channels: int, rngs: nnx.Rngs, dtype: Dtype = None) -> None:
        super().__init__(
            in_channels, out_channels, (2, 2), strides=(2, 2), padding="VALID", transpose_kernel=True, dtype=dtype,
            rngs=rngs,
        )  # fmt: skip

    def __call__(
        self, x: Float[Array, "batch height width in_channels"]
    ) -> Float[Array, "batch 2*height 2*width out_channels"]:
        """(batch, h, w, in_channels) to (batch, 2h, 2w, out_channels)."""
        b, h, w, _ = x.shape
        assert self.bias is not None
        kernel, bias = self.kernel[...], self.bias[...]
        if self.dtype is not None:
            x, kernel, bias = (array.astype(self.dtype) for array in (x, kernel, bias))
        # The kernel's layout, (2, 2, out, in), is that of the gradient of a convolution, as in torch.
        y = jnp.einsum("bhwi,kloi->bhkwlo", x, kernel)
        return y.reshape(b, 2 * h, 2 * w, self.out_features) + everywhere(bias)


class UpBlock(nnx.Module):
    """ConvTranspose 2×2 that doubles the side and halves the channels, then the skip, then a ConvBlock."""

    def __init__(
        self, in_channels: int, skip_channels: int, out_channels: int, rngs: nnx.Rngs, dtype: Dtype = None
    ) -> None:
        self.up = UpConv(in_channels, in_channels // 2, rngs, dtype)
        self.block = ConvBlock(in_channels // 2 + skip_channels, out_channels, rngs, dtype)

    def __call__(
        self,
        x: Float[Array, "batch height width in_channels"],
        skip: Float[Array, "batch 2*height 2*width skip_channels"],
        *,
        train: bool,
    ) -> Float[Array, "batch 2*height 2*width out_channels"]:
        """x (batch, h, w, in_channels), skip (batch, 2h, 2w, skip_channels) to (batch, 2h, 2w, out_channels)."""
        return self.block(jnp.concatenate([self.up(x), skip], axis=-1), train=train)


class SeedUNet(nnx.Module):
    """Predicts from the noised target and the guiding picture.

    12,625,923 parameters at width 64. With `output_activation="tanh"` the output lies
    in (-1, 1), which cuts off 31.7 % of a normal eps: only for old checkpoints.

    `dtype`: of convolutions and what passes between them; statistics of BatchNorm, the
    time and the last convolution stay in the weights' float32.
    """

    def __init__(
        self, config: SeedModelConfig, timesteps: int, *, rngs: nnx.Rngs, dtype: Dtype = None, state_channels: int = 3
    ) -> None:
        w = config.width
        self.inc = ConvBlock(2 * state_channels, w, rngs, dtype)
        self.down1 = ConvBlock(w, 2 * w, rngs, dtype)
        self.down2 = ConvBlock(2 * w, 4 * w, rngs, dtype)
        self.down3 = ConvBlock(4 * w, 8 * w, rngs, dtype)
        self.bottleneck = ConvBlock(8 * w, 8 * w, rngs, dtype)
        self.time_in = nnx.Linear(1, TIME_CHANNELS, rngs=rngs)
        self.time_out = nnx.Linear(TIME_CHANNELS, TIME_CHANNELS, rngs=rngs)
        self.time_proj = nnx.Linear(TIME_CHANNELS, 8 * w, rngs=rngs)
        self.up1 = UpBlock(8 * w, 4 * w, 4 * w, rngs, dtype)
        self.up2 = UpBlock(4 * w, 2 * w, 2 * w, rngs, dtype)
        self.up3 = UpBlock(2 * w, w, w, rngs, dtype)
        self.outc = conv3x3(w, state_channels, rngs)
        self.timesteps = timesteps
        self.tanh = config.output_activation == "tanh"

    def __call__(
        self,
        x_t: Features,
        cond: Cond,
        t: Timesteps,
        *,
        train: bool,
        key: RandomKey | None = None,
    ) -> Features:
        """x_t, cond (batch, height, width, channels), t integers (batch,) from 0 to timesteps-1; returns x_t's shape.

        `key` is not used: nothing here is random.
        """
        del key
        x1 = self.inc(jnp.concatenate([x_t, cond], axis=-1), train=train)
        x2 = self.down1(_max_pool(x1), train=train)
        x3 = self.down2(_max_pool(x2), train=train)
        x4 = self.down3(_max_pool(x3), train=train)
        time = t.astype(x_t.dtype)[:, None] / self.timesteps
        time = nnx.silu(self.time_proj(self.time_out(nnx.silu(self.time_in(time)))))
        x = self.bottleneck(x4, train=train).astype(time.dtype) + time[:, None, None, :]
        x = self.up1(x, x3, train=train)
        x = self.up2(x, x2, train=train)
        x = self.up3(x, x1, train=train)
        x = self.outc(x.astype(x_t.dtype))
        return jnp.tanh(x) if self.tanh else x


def _max_pool(x: jax.Array) -> jax.Array:
    """The largest of 2 × 2 pixels: (batch, h, w, channels) to (batch, h // 2, w // 2, channels)."""
    # Not a `jnp.max` over windows: its gradient divides by how many pixels equal the largest, and none may, where XLA
    # computes them a second time and rounds otherwise. Here it goes to one pixel whatever is computed twice. Nor
    # `nnx.max_pool`, whose gradient XLA on a CPU turns into a search for places and a scatter.
    height, width = (side // 2 * 2 for side in x.shape[1:3])
    # Along each row first: of equal pixels the first in reading order then wins, as in torch.
    x = _larger(x[:, :, 0:width:2], x[:, :, 1:width:2])
    return _larger(x[:, 0:height:2], x[:, 1:height:2])


def _larger(a: jax.Array, b: jax.Array) -> jax.Array:
    """The larger of two; a, with the whole gradient, where they are equal, and NaN where either is."""
    return jnp.where((b > a) | jnp.isnan(b), b, a)


@dataclass(frozen=True)
class SeedModelConfig(NetworkConfig):
    """The seed U-Net: BatchNorm, ReLU, time added at the bottleneck."""

    architecture: Literal["seed"] = "seed"
    """Name of the network in the registry."""
    width: int = 64
    """Channels of the first block; deeper ones have 2, 4, 8 and 8 times as many."""
    output_activation: Literal["none", "tanh"] = "none"
    """Activation of the output; `tanh` only to continue from checkpoints of the original script."""

    def __post_init__(self) -> None:
        require(1 <= self.width <= 1024, "model.width", self.width, "choose 1 to 1024 channels")

    @property
    def size_multiple(self) -> int:
        """Height and width must be multiples of this, pixels."""
        return 8

    def create(self, timesteps: int, rngs: nnx.Rngs, dtype: Dtype = None, state_channels: int = 3) -> SeedUNet:
        return SeedUNet(self, timesteps, rngs=rngs, dtype=dtype, state_channels=state_channels)
