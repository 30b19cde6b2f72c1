"""The residual family: a space-to-depth stem, GroupNorm, the time in every block, attention where wanted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx

from jax_impl.config.checks import require
from jax_impl.config.fields import TRAINING_ONLY
from jax_impl.model.attention import Attention, CondEncoder
from jax_impl.model.blocks import (
    Dtype,
    GroupNorm,
    ResBlock,
    average_pool,
    conv1x1,
    conv3x3,
    sinusoidal_embedding,
    space_to_depth,
    upsample_bilinear,
    upsample_nearest,
)
from jax_impl.model.coordinates import with_coordinates
from jax_impl.model.recolour import Head, head_weights, recolour
from jax_impl.model.registry import NetworkConfig
from jax_impl.model.remat import KEPT, Remat, run
from jax_impl.model.unfolding import Refinement, output_conv, unfold
from jax_impl.shapes import Array, Cond, Features, Float, RandomKey, Timesteps

Keys = Iterator[jax.Array] | None
"""Keys for dropout, one for each block; None where nothing is dropped."""


class Level(nnx.Module):
    """Residual blocks at one resolution, attention after each if any, and the weights that lead to the next level."""

    def __init__(
        self, blocks: list[ResBlock], attention: list[Attention], resample: nnx.Conv | None, remat: Remat
    ) -> None:
        self.blocks = nnx.List(blocks)
        self.attention = nnx.List(attention) if attention else None
        self.resample = resample
        self.remat = remat

    def __call__(
        self,
        x: Float[Array, "batch height width in_channels"],
        emb: Float[Array, "batch time_channels"],
        context: Float[Array, "batch rows columns context_channels"] | None,
        keys: Keys,
    ) -> Float[Array, "batch height width out_channels"]:
        """Run blocks and attention, not the resampling, on (batch, height, width, channels)."""
        for i, block in enumerate(self.blocks):
            x = run(block, self.remat, x, emb, next(keys) if keys else None)
            if self.attention is not None:
                x = run(self.attention[i], self.remat, x, context)
        return x


class UNet(nnx.Module):
    """Residual U-Net over patch × patch pixel blocks (Ho et al. 2020, appendix B, made cheap for CPUs).

    The stem folds pixels into channels, so every convolution runs at 1/patch of the
    side; the head unfolds them again. The affine head adds a local colour change of the
    input pictures, which starts as a copy of cond and keeps its edges. The last
    convolution of every block, of attention and of the head starts at zero, so that
    nothing else speaks at first. With coordinates every pixel comes with its place in the
    whole picture (Wang et al. 2023, "Patch Diffusion").

    `dtype`: of the arithmetic from the stem to the head; the embedding of the time, norms,
    softmax and the head itself stay in the weights' float32.
    """

    head: Head

    def __init__(
        self, config: UNetModelConfig, *, rngs: nnx.Rngs, dtype: Dtype = None, state_channels: int = 3
    ) -> None:
        width, groups = config.width, config.groups
        cond_channels = state_channels + config.cond_channels - 3
        channels = [width * m for m in config.multipliers]
        last, time_channels = len(channels) - 1, 4 * width
        folded = config.patch * config.patch
        context_channels = channels[-1] if config.cross_attention else None

        def residual(before: int, after: int) -> ResBlock:
            return ResBlock(
                (before, after), time_channels, groups, rngs,
                modulation=config.time_modulation, dropout=config.dropout, dtype=dtype,
            )  # fmt: skip

        def attention(c: int) -> Attention:
            return Attention(c, config.head_channels, groups, rngs, context_channels=context_channels, dtype=dtype)

        def blocks(i: int, before: int) -> tuple[list[ResBlock], list[Attention]]:
            c, attended = channels[i], i in config.attention_levels
            residuals = [residual(before if j == 0 else c, c) for j in range(config.blocks)]
            return residuals, [attention(c) for _ in residuals if attended]

        self.patch, self.remat = config.patch, KEPT[config.remat_keeps] if config.remat else None
        self.fixed, self.smooth = config.resample == "fixed", config.unfold == "bilinear"
        self.dropout, self.block_count = config.dropout, 2 * len(channels) * config.blocks + 2
        self.time_in = nnx.Linear(2 * width, time_channels, rngs=rngs)
        self.time_out = nnx.Linear(time_channels, time_channels, rngs=rngs)
        self.coordinates, self.head = config.coordinates, config.head
        self.stem = conv3x3((state_channels + cond_channels) * folded, width, rngs, dtype=dtype)
        self.encoder = (
            CondEncoder(channels, config.patch, groups, rngs, cond_channels=cond_channels, dtype=dtype)
            if config.cross_attention
            else None
        )

        down = []
        for i, c in enumerate(channels):
            parts = blocks(i, channels[i - 1] if i > 0 else width)
            strided = conv3x3(c, c, rngs, stride=2, dtype=dtype) if i < last and not self.fixed else None
            down.append(Level(*parts, strided, self.remat))
        self.down = nnx.List(down)
        self.middle = nnx.List([residual(channels[-1], channels[-1]) for _ in range(2)])
        self.middle_attention = attention(channels[-1]) if config.attention_levels else None

        up = []
        for i, c in enumerate(channels):
            parts = blocks(i, 2 * c)
            up.append(Level(*parts, conv1x1(c, channels[i - 1], rngs, dtype=dtype) if i > 0 else None, self.remat))
        self.up = nnx.List(up)

        self.norm_out = GroupNorm(channels[0], groups, rngs)
        refined = config.refine_width if config.refine else 0
        self.conv_out = output_conv(
            (channels[0], refined or state_channels), self.patch, self.smooth, rngs, zero=not refined
        )
        self.refine = Refinement((refined, state_channels), config.refine, rngs, dtype) if refined else None
        weights = head_weights(self.head, state_channels)
        self.affine_out = conv3x3(channels[0], weights, rngs, zero=True) if weights else None

    def __call__(
        self,
        x_t: Features,
        cond: Cond,
        t: Timesteps,
        *,
        train: bool,
        key: RandomKey | None = None,
    ) -> Features:
        """x_t, cond (batch, height, width, channels), t integers (batch,); returns x_t's shape.

        With coordinates, a cond that is part of a larger picture has five channels, the last
        two each pixel's height and width in it, from -1 to 1; one of three is whole.
        `train` drops features by `key`. Raises ValueError where it must and there is no key.
        """
        keys = self._keys(key) if train and self.dropout > 0 else None
        emb = sinusoidal_embedding(t, self.time_in.in_features, x_t.dtype)
        emb = nnx.silu(self.time_out(nnx.silu(self.time_in(emb))))
        if self.coordinates:
            cond = with_coordinates(cond)
        context = None if self.encoder is None else self.encoder(cond)
        x = self.stem(space_to_depth(jnp.concatenate([x_t, cond], axis=-1), self.patch))
        skips = []
        for level in self.down:
            if skips:
                x = average_pool(x) if self.fixed else self.down[len(skips) - 1].resample(x)
            x = level(x, emb, context, keys)
            skips.append(x)
        for i, block in enumerate(self.middle):
            if i > 0 and self.middle_attention is not None:
                x = run(self.middle_attention, self.remat, x, context)
            x = run(block, self.remat, x, emb, next(keys) if keys else None)
        enlarge = upsample_bilinear if self.fixed else upsample_nearest
        for level in reversed(list(self.up)):
            x = level(jnp.concatenate([x, skips.pop()], axis=-1), emb, context, keys)
            if level.resample is not None:
                x = enlarge(level.resample(x))
        features = nnx.silu(self.norm_out(x))
        output, picture = unfold(self.conv_out(features), self.patch, self.smooth), cond[..., : x_t.shape[-1]]
        if self.refine is not None:
            output = self.refine(output, picture)
        if self.affine_out is None:
            return output
        return output + recolour(self.head, self.affine_out(features), x_t, picture, self.patch)

    def _keys(self, key: jax.Array | None) -> Iterator[jax.Array]:
        if key is None:
            raise ValueError(f"dropout is {self.dropout}: training needs a key; give one, or a network without dropout")
        return iter(jax.random.split(key, self.block_count))


@dataclass(frozen=True)
class UNetModelConfig(NetworkConfig):
    """The residual family: space-to-depth stem, GroupNorm, time in every block."""

    architecture: Literal["unet"] = "unet"
    """Name of the network in the registry."""
    patch: int = 2
    """Side of the pixel block that the stem folds into channels."""
    width: int = 48
    """Channels at the first level."""
    multipliers: tuple[int, ...] = (1, 2, 3)
    """Channels of each level as multiples of `width`; each level halves the side."""
    blocks: int = 2
    """Residual blocks per level, on the way down and on the way up."""
    groups: int = 8
    """Groups of every GroupNorm."""
    head: Head = "affine"
    """`affine` adds a local colour change of x_t and the input picture; `affine_cond` of the input alone: no grain;
    `bilateral` too, with another change for bright pixels than for dark ones."""
    unfold: Literal["blocks", "bilinear"] = "blocks"
    """From blocks to pixels: each pixel from channels of its own, or interpolated, which needs `refine`."""
    refine: int = 0
    """Number of 3 × 3 convolutions of single pixels after the unfolding, 0 to 8: against a lattice of blocks."""
    refine_width: int = 16
    """Channels between these convolutions, 1 to 1024."""
    attention_levels: tuple[int, ...] = ()
    """Levels, counted from 0 at the full side, with self-attention after each residual block; with any, also between
    the two middle blocks."""
    head_channels: int = 32
    """Channels of each attention head."""
    cross_attention: bool = False
    """Let attention also use features of the input picture."""
    coordinates: bool = False
    """Each pixel's place in the whole picture is an input too: trained on crops, the network works at any size."""
    resample: Literal["learned", "fixed"] = "learned"
    """Change of resolution: `learned` uses strided convolutions and nearest neighbours, `fixed` averages and bilinear
    ones."""
    time_modulation: Literal["scale_shift", "add"] = "scale_shift"
    """Effect of the timestep in a residual block: scale and shift its second norm, or add to that norm's input."""
    dropout: float = field(default=0.0, metadata=TRAINING_ONLY)
    """Share of a residual block's features that training drops, from 0 to below 1."""
    remat: bool = field(default=False, metadata=TRAINING_ONLY)
    """Gradient checkpointing: compute activations a second time in the backward pass, which saves memory and takes
    time (XLA undoes it on CPUs)."""
    remat_keeps: Literal["nothing", "products"] = field(default="nothing", metadata=TRAINING_ONLY)
    """Activations that gradient checkpointing keeps: `nothing`, or the `products`, outputs of convolutions and matrix
    products."""

    def __post_init__(self) -> None:
        require(self.patch in (1, 2, 4, 8), "model.patch", self.patch, "choose 1, 2, 4 or 8 pixels")
        require(self.groups >= 1, "model.groups", self.groups, "choose at least 1")
        require(
            1 <= self.width <= 4096 and self.width % self.groups == 0,
            "model.width",
            self.width,
            f"choose a multiple of model.groups ({self.groups}) up to 4096",
        )
        require(
            1 <= len(self.multipliers) <= 8 and all(1 <= m <= 64 for m in self.multipliers),
            "model.multipliers",
            self.multipliers,
            "name one to eight levels, each from 1 to 64",
        )
        require(1 <= self.blocks <= 16, "model.blocks", self.blocks, "choose 1 to 16")
        require(0 <= self.refine <= 8, "model.refine", self.refine, "choose 0 to 8")
        require(1 <= self.refine_width <= 1024, "model.refine_width", self.refine_width, "choose 1 to 1024")
        alone = self.unfold == "bilinear" and self.refine == 0
        require(not alone, "model.unfold", self.unfold, "it needs model.refine above 0")
        require(0.0 <= self.dropout < 1.0, "model.dropout", self.dropout, "choose 0 to below 1")
        self._check_attention()

    def _check_attention(self) -> None:
        levels, last = self.attention_levels, len(self.multipliers) - 1
        require(
            len(set(levels)) == len(levels) and all(0 <= level <= last for level in levels),
            "model.attention_levels",
            levels,
            f"name levels from 0 to {last}, each once",
        )
        require(
            bool(levels) or not self.cross_attention,
            "model.cross_attention",
            self.cross_attention,
            f"it needs attention; name levels with model.attention_levels, such as {last}",
        )
        require(self.head_channels >= 1, "model.head_channels", self.head_channels, "choose at least 1")
        for level in sorted({*levels, last} if levels else ()):
            channels = self.width * self.multipliers[level]
            require(
                channels % self.head_channels == 0,
                "model.head_channels",
                self.head_channels,
                f"choose a divisor of the {channels} channels of level {level}",
            )

    @property
    def size_multiple(self) -> int:
        """Height and width must be multiples of this, pixels."""
        return self.patch * 2 ** (len(self.multipliers) - 1)

    @property
    def cond_channels(self) -> int:
        """Most channels of cond that the network reads: the picture, and each pixel's height and width if wanted."""
        return 5 if self.coordinates else 3

    def create(self, timesteps: int, rngs: nnx.Rngs, dtype: Dtype = None, state_channels: int = 3) -> UNet:
        return UNet(self, rngs=rngs, dtype=dtype, state_channels=state_channels)
