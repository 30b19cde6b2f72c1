"""The codec `latent`: a small convolutional autoencoder without norms (after Rombach et al. 2022)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax.numpy as jnp
from flax import nnx

from jax_impl.config.checks import require
from jax_impl.model.blocks import conv1x1, conv3x3, depth_to_space, space_to_depth, upsample_nearest
from jax_impl.model.codec import CODECS
from jax_impl.model.learned_codec import LearnedCodecConfig
from jax_impl.model.unfolding import output_conv
from jax_impl.shapes import Array, Features, Float
import itertools


@dataclass(frozen=True)
class LatentCodecConfig(LearnedCodecConfig):
    """A convolutional autoencoder with a bounded state, whose weights the stage autoencoder trains."""

    codec: str = "latent"
    factor: int = 8
    channels: int = 8
    """Channels of the state, 1 to 64."""
    patch: int = 4
    """Side of the pixel blocks that the first layer folds into channels; factor is this times a power of two."""
    width: int = 32
    """Channels at the side of the blocks; they double as the side halves."""
    blocks: int = 2
    """Residual blocks at each side, in encoder and decoder."""

    def __post_init__(self) -> None:
        require(self.patch in (1, 2, 4, 8), "codec.patch", self.patch, "choose 1, 2, 4 or 8 pixels")
        halvings = math.log2(self.factor / self.patch) if self.factor >= 1 else -1.0
        rule = f"choose codec.patch ({self.patch}) times a power of two, up to 32"
        require(halvings >= 0 and halvings.is_integer() and self.factor <= 32, "codec.factor", self.factor, rule)
        for name, most in (("channels", 64), ("width", 1024), ("blocks", 16)):
            value = getattr(self, name)
            require(1 <= value <= most, f"codec.{name}", value, f"choose 1 to {most}")
        super().__post_init__()

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels at each side, the largest first."""
        return tuple(self.width * 2**i for i in range(int(math.log2(self.factor // self.patch)) + 1))

    def sides(self, rngs: nnx.Rngs) -> tuple[nnx.Module, nnx.Module]:
        """The encoder and the decoder."""
        return Encoder(self, rngs), Decoder(self, rngs)


CODECS.add("latent", LatentCodecConfig)


class Block(nnx.Module):
    """x + conv(relu(conv(x))), the second convolution starting at zero (after He et al. 2016).

    Without a norm a state depends on the pixels around it alone, and the layers fuse on devices.
    """

    def __init__(self, channels: int, rngs: nnx.Rngs) -> None:
        self.conv1 = conv3x3(channels, channels, rngs)
        self.conv2 = conv3x3(channels, channels, rngs, zero=True)

    def __call__(self, x: Features) -> Features:
        """Any (batch, height, width, channels) to the same shape."""
        return x + self.conv2(nnx.relu(self.conv1(x)))


class Encoder(nnx.Module):
    """Pictures to states in [-1, 1]: blocks of pixels folded, then residual blocks, the side halved between levels."""

    def __init__(self, config: LatentCodecConfig, rngs: nnx.Rngs) -> None:
        widths = config.widths
        self.patch = config.patch
        self.stem = conv3x3(3 * config.patch**2, widths[0], rngs)
        self.levels = nnx.List(nnx.List(Block(width, rngs) for _ in range(config.blocks)) for width in widths)
        self.down = nnx.List(conv3x3(*pair, rngs, stride=2) for pair in itertools.pairwise(widths))
        self.last = conv3x3(widths[-1], config.channels, rngs)

    def __call__(self, picture: Features) -> Float[Array, "batch rows columns states"]:
        """(batch, height, width, 3) in [-1, 1] to (batch, height / factor, width / factor, channels)."""
        x = self.stem(space_to_depth(picture, self.patch))
        for i, blocks in enumerate(self.levels):
            x = self.down[i - 1](x) if i else x
            for block in blocks:
                x = block(x)
        return jnp.tanh(self.last(x))


class Decoder(nnx.Module):
    """States to pictures: the encoder backwards, nearest neighbours between levels."""

    def __init__(self, config: LatentCodecConfig, rngs: nnx.Rngs) -> None:
        widths = config.widths[::-1]
        self.patch = config.patch
        self.stem = conv3x3(config.channels, widths[0], rngs)
        self.levels = nnx.List(nnx.List(Block(width, rngs) for _ in range(config.blocks)) for width in widths)
        self.up = nnx.List(conv1x1(*pair, rngs) for pair in itertools.pairwise(widths))
        self.last = output_conv((widths[-1], 3), config.patch, smooth=False, rngs=rngs, zero=False)

    def __call__(self, state: Features) -> Float[Array, "batch height width rgb"]:
        """(batch, rows, columns, channels) to (batch, rows · factor, columns · factor, 3), not clamped."""
        x = self.stem(state)
        for i, blocks in enumerate(self.levels):
            x = upsample_nearest(self.up[i - 1](x)) if i else x
            for block in blocks:
                x = block(x)
        return depth_to_space(self.last(nnx.relu(x)), self.patch)
