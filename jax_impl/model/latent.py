"""The codec `latent`: a small convolutional autoencoder without norms (after Rombach et al. 2022).

It starts as the mean colours of blocks, enlarged bilinearly, and learns what these lack: so it is of use after minutes.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx

from jax_impl.config.checks import require
from jax_impl.model.blocks import conv1x1, conv3x3, depth_to_space, space_to_depth, upsample_nearest
from jax_impl.model.codec import CODECS
from jax_impl.model.learned_codec import LearnedCodecConfig
from jax_impl.shapes import Array, Features, Float

COLOURS = 3
"""Channels of a state that start as mean colours."""
BOUND = 3.0
"""Largest absolute value of an encoded picture: BOUND · tanh(x / BOUND), which is nearly x for colours."""


@dataclass(frozen=True)
class LatentCodecConfig(LearnedCodecConfig):
    """A convolutional autoencoder with a bounded state, whose weights the stage autoencoder trains."""

    codec: str = "latent"
    factor: int = 4
    channels: int = 8
    """Channels of the state, 3 to 64."""
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
        for name, least, most in (("channels", COLOURS, 64), ("width", 1, 1024), ("blocks", 1, 16)):
            value = getattr(self, name)
            require(least <= value <= most, f"codec.{name}", value, f"choose {least} to {most}")
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
    """Pictures to states in [-BOUND, BOUND]: blocks of pixels folded, residual blocks, the side halved between levels.

    The last convolution starts at zero, and the mean colours of the state's pixels are added to three of its channels.
    """

    def __init__(self, config: LatentCodecConfig, rngs: nnx.Rngs) -> None:
        widths = config.widths
        self.patch, self.factor = config.patch, config.factor
        self.stem = conv3x3(3 * config.patch**2, widths[0], rngs)
        self.levels = nnx.List(nnx.List(Block(width, rngs) for _ in range(config.blocks)) for width in widths)
        self.down = nnx.List(conv3x3(*pair, rngs, stride=2) for pair in itertools.pairwise(widths))
        self.last = conv3x3(widths[-1], config.channels, rngs, zero=True)

    def __call__(self, picture: Float[Array, "batch height width rgb"]) -> Float[Array, "batch rows columns states"]:
        """(batch, height, width, 3) in [-1, 1] to (batch, height / factor, width / factor, channels)."""
        x = self.stem(space_to_depth(picture, self.patch))
        for i, blocks in enumerate(self.levels):
            x = self.down[i - 1](x) if i else x
            for block in blocks:
                x = block(x)
        x, (batch, height, width, colours) = self.last(x), picture.shape
        blocks = picture.reshape(batch, height // self.factor, self.factor, width // self.factor, self.factor, colours)
        more = [(0, 0)] * 3 + [(0, x.shape[-1] - colours)]
        return BOUND * jnp.tanh((x + jnp.pad(blocks.mean(axis=(2, 4)), more)) / BOUND)


class Decoder(nnx.Module):
    """States to pictures: the encoder backwards, nearest neighbours between levels.

    The last convolution starts at zero, and three channels of the state, enlarged, are added to its output.
    """

    def __init__(self, config: LatentCodecConfig, rngs: nnx.Rngs) -> None:
        widths = config.widths[::-1]
        self.patch = config.patch
        self.stem = conv3x3(config.channels, widths[0], rngs)
        self.levels = nnx.List(nnx.List(Block(width, rngs) for _ in range(config.blocks)) for width in widths)
        self.up = nnx.List(conv1x1(*pair, rngs) for pair in itertools.pairwise(widths))
        self.last = conv3x3(widths[-1], COLOURS * config.patch**2, rngs, zero=True)

    def __call__(self, state: Float[Array, "batch rows columns states"]) -> Float[Array, "batch height width rgb"]:
        """(batch, rows, columns, channels) to (batch, rows · factor, columns · factor, 3), not clamped."""
        x = self.stem(state)
        for i, blocks in enumerate(self.levels):
            x = upsample_nearest(self.up[i - 1](x)) if i else x
            for block in blocks:
                x = block(x)
        details = depth_to_space(self.last(nnx.relu(x)), self.patch)
        return details + jax.image.resize(state[..., :COLOURS], details.shape, "linear")
