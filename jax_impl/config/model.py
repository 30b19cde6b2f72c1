"""Settings of the networks; each is checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jax_impl.config.checks import require

ComputeDtype = Literal["float32", "bfloat16"]

TRAINING_ONLY = frozenset({"model.dropout", "model.compute_dtype", "model.remat", "model.remat_keeps"})
"""Settings that change how a network is trained, not what its weights compute."""


@dataclass(frozen=True)
class SeedModelConfig:
    """The seed U-Net: BatchNorm, ReLU, time added at the bottleneck."""

    architecture: Literal["seed"] = "seed"
    width: int = 64
    """Channels of the first block; deeper ones have 2, 4, 8 and 8 times as many."""
    output_activation: Literal["none", "tanh"] = "none"
    """`tanh` only to carry on from checkpoints of the original script."""
    compute_dtype: ComputeDtype = "float32"
    """Arithmetic of training; weights, BatchNorm's statistics, the last layer and everything after training stay
    float32."""

    def __post_init__(self) -> None:
        require(1 <= self.width <= 1024, "model.width", self.width, "choose 1 to 1024 channels")

    @property
    def size_multiple(self) -> int:
        """Height and width must be multiples of this, pixels."""
        return 8

    @property
    def cond_channels(self) -> int:
        """Most channels of cond that the network reads: the picture alone."""
        return 3


@dataclass(frozen=True)
class UNetModelConfig:
    """The residual family: space-to-depth stem, GroupNorm, time in every block."""

    architecture: Literal["unet"] = "unet"
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
    head: Literal["plain", "affine"] = "affine"
    """`affine` adds a local colour change of the input pictures to what `plain` draws."""
    attention_levels: tuple[int, ...] = ()
    """Levels, counted from 0 at the full side, whose residual blocks are each followed by self-attention; if there
    are any, it also stands between the two middle blocks."""
    head_channels: int = 32
    """Channels of each attention head."""
    cross_attention: bool = False
    """Attention also looks at features of the guiding picture."""
    coordinates: bool = False
    """The network is told where in the whole picture each pixel lies: trained on crops, it draws at any size."""
    resample: Literal["learned", "fixed"] = "learned"
    """`learned`: strided convolutions down, nearest neighbours up; `fixed`: averages down, bilinear up."""
    time_modulation: Literal["scale_shift", "add"] = "scale_shift"
    """What the time does in a residual block: scale and shift its second norm, or add to that norm's input."""
    dropout: float = 0.0
    """Share of a residual block's features that is dropped in training."""
    compute_dtype: ComputeDtype = "float32"
    """Arithmetic of training; weights, norms, softmax, head and everything after training stay float32."""
    remat: bool = False
    """Compute activations anew in the backward pass: less memory for more time (XLA undoes it on CPUs)."""
    remat_keeps: Literal["nothing", "products"] = "nothing"
    """What of each block is not: `products` keeps what convolutions and matrix products return."""

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
