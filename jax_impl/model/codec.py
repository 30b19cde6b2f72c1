"""The codec around the network, that `codec` names: from a picture to the state that diffusion works on, and back."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jax_impl.config import tagged
from jax_impl.config.checks import require
from jax_impl.model.blocks import depth_to_space, space_to_depth


@dataclass(frozen=True)
class Codec:
    """A codec with its weights; pure functions on arrays (batch, height, width, channels)."""

    encode: Callable[[jax.Array], jax.Array]
    """Pictures of 3 channels in [-1, 1] to states, sides divided by the factor."""
    decode: Callable[[jax.Array], jax.Array]
    """States to pictures."""


@dataclass(frozen=True)
class CodecConfig(ABC):
    """Settings of a codec; a subclass names itself in `codec` and is added to CODECS under that name.

    `torch_ref.codec.CODECS` needs an entry of the same name, of which the exporter makes the files that devices run.
    Diffusion works on (encoded - mean) / std.
    """

    codec: str
    factor: int = 1
    """Pixels of a picture's side for one of the state's."""
    channels: int = 3
    """Channels of the state; the network has to take and return as many."""
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    """Mean of each channel of an encoded picture."""
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    """Standard deviation of each channel of an encoded picture."""

    learned: ClassVar[bool] = False
    """Whether the codec has weights that a run learns, see `jax_impl.model.learned_codec`."""

    def __post_init__(self) -> None:
        require(self.factor >= 1, "codec.factor", self.factor, "choose at least 1")
        for name, values in (("mean", self.mean), ("std", self.std)):
            require(len(values) == self.channels, f"codec.{name}", values, f"name {self.channels} values")
        require(min(self.std, default=0.0) > 0.0, "codec.std", self.std, "choose values above 0")

    def state_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of the state of pictures (batch, height, width, …)."""
        return shape[0], shape[1] // self.factor, shape[2] // self.factor, self.channels

    def filled(self, weights: Any) -> CodecConfig:
        """The settings of a codec that is learned, with its weights; those of any other as they are."""
        return self

    @abstractmethod
    def create(self) -> Codec:
        """The codec, before its statistics are applied."""


CODECS = tagged.registry(CodecConfig, "codec", "codec")


@dataclass(frozen=True)
class IdentityCodecConfig(CodecConfig):
    """The state is the picture."""

    codec: str = "identity"

    def __post_init__(self) -> None:
        super().__post_init__()
        require((self.factor, self.channels) == (1, 3), "codec", self.codec, "its factor is 1, and its channels are 3")

    def create(self) -> Codec:
        """The codec that changes nothing."""
        return Codec(lambda picture: picture, lambda state: state)


CODECS.add("identity", IdentityCodecConfig)


@dataclass(frozen=True)
class PatchesCodecConfig(CodecConfig):
    """Blocks of factor × factor pixels become the channels of one: exact, and without weights ("space to depth")."""

    codec: str = "patches"
    factor: int = 2
    channels: int = 0
    """Channels of the state, 3 · factor²; 0 stands for that."""
    mean: tuple[float, ...] = ()
    """Mean of each channel of an encoded picture; none for zeros."""
    std: tuple[float, ...] = ()
    """Standard deviation of each channel of an encoded picture; none for ones."""

    def __post_init__(self) -> None:
        require(2 <= self.factor <= 16, "codec.factor", self.factor, "choose 2 to 16 pixels")
        channels = 3 * self.factor**2
        for name, value in (("channels", channels), ("mean", (0.0,) * channels), ("std", (1.0,) * channels)):
            if not getattr(self, name):
                object.__setattr__(self, name, value)
        require(self.channels == channels, "codec.channels", self.channels, f"{channels} belong to this factor")
        super().__post_init__()

    def create(self) -> Codec:
        """Space to depth, channels in the order (channel, row, column), and back."""
        factor = self.factor
        return Codec(lambda picture: space_to_depth(picture, factor), lambda state: depth_to_space(state, factor))


CODECS.add("patches", PatchesCodecConfig)


def codec_of(config: CodecConfig) -> Codec:
    """The codec of the settings, its statistics applied.

    `encode` takes further channels, the coordinates of pixels, as well: they become the means of their blocks.
    """
    # Weights may be tracers of a program: no cache may hold them.
    return _codec_of(config) if config.learned else _kept(config)


def _codec_of(config: CodecConfig) -> Codec:
    if config == IdentityCodecConfig():
        return config.create()
    codec, factor = config.create(), config.factor
    # Of numpy: inside a program an array of JAX would belong to it, and the codec is kept.
    mean, std = (np.asarray(row, np.float32)[None, None, None, :] for row in (config.mean, config.std))

    def encode(picture: jax.Array) -> jax.Array:
        state = (codec.encode(picture[..., :3]) - mean.astype(picture.dtype)) / std.astype(picture.dtype)
        if picture.shape[-1] == 3:
            return state
        batch, height, width, _ = picture.shape
        blocks = picture[..., 3:].reshape(batch, height // factor, factor, width // factor, factor, -1)
        return jnp.concatenate([state, blocks.mean(axis=(2, 4))], axis=-1)

    return Codec(encode, lambda state: codec.decode(state * std.astype(state.dtype) + mean.astype(state.dtype)))


_kept = functools.cache(_codec_of)
