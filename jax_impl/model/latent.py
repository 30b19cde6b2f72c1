"""The codec `latent`: a small convolutional autoencoder without norms (after Rombach et al. 2022).

It starts as a fixed transform of blocks, mean colours and the lowest frequencies of brightness, and learns what that
lacks: so it is of use after minutes.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from flax import nnx

from jax_impl.config.checks import require
from jax_impl.model.blocks import conv1x1, conv3x3, depth_to_space, space_to_depth, upsample_nearest
from jax_impl.model.codec import CODECS
from jax_impl.model.learned_codec import LearnedCodecConfig
from jax_impl.shapes import Array, Features, Float

COLOURS = 3
"""Channels of a state that start as mean colours."""
LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the brightness (ITU-R BT.601)."""
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

    The last convolution starts at zero; the fixed transform of the blocks is added to it.
    """

    def __init__(self, config: LatentCodecConfig, rngs: nnx.Rngs) -> None:
        widths = config.widths
        self.patch, self.factor, self.channels = config.patch, config.factor, config.channels
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
        matrix = jnp.asarray(block_transform(self.factor, self.channels)[0], picture.dtype)
        return BOUND * jnp.tanh((self.last(x) + space_to_depth(picture, self.factor) @ matrix) / BOUND)


class Decoder(nnx.Module):
    """States to pictures: the encoder backwards, nearest neighbours between levels.

    The last convolution starts at zero; the fixed transform of the blocks, backwards, is added to it.
    """

    def __init__(self, config: LatentCodecConfig, rngs: nnx.Rngs) -> None:
        widths = config.widths[::-1]
        self.patch, self.factor, self.channels = config.patch, config.factor, config.channels
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
        matrix = jnp.asarray(block_transform(self.factor, self.channels)[1], state.dtype)
        blocks = depth_to_space(state @ matrix, self.factor)
        return depth_to_space(self.last(nnx.relu(x)), self.patch) + blocks


def block_transform(factor: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """The fixed transform of blocks and its way back, float32 (3 · factor², channels) and (channels, 3 · factor²).

    Pixels are in the order of `space_to_depth`. Channels are the three mean colours, then cosines of the brightness
    (DCT-II, Ahmed et al. 1974) from the lowest frequency on, times 2 / factor, so that none is much larger than 1.
    """
    places = (np.arange(factor) + 0.5) / factor
    frequencies = sorted(((a, b) for a in range(factor) for b in range(factor)), key=lambda pair: (sum(pair), pair))
    forth, back = np.zeros((2, channels, COLOURS, factor, factor))
    forth[:COLOURS] = np.eye(COLOURS)[:, :, None, None] / factor**2
    back[:COLOURS] = np.eye(COLOURS)[:, :, None, None]
    for row, pair in zip(range(COLOURS, channels), frequencies[1:], strict=False):
        # Orthonormal: the constant has the norm of all others only with the root of two.
        down, right = (np.cos(np.pi * places * k) * np.sqrt((2 if k else 1) / factor) for k in pair)
        forth[row] = np.outer(down, right) * np.array(LUMA)[:, None, None] * 2 / factor
        back[row] = np.outer(down, right) * factor / 2
    # Rounded, whatever it is used in: PyTorch's side keeps it so.
    return forth.reshape(channels, -1).T.astype(np.float32), back.reshape(channels, -1).astype(np.float32)
