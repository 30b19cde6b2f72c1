"""Codecs with weights: an encoder and a decoder that a stage of the run trains.

Their weights are the network CODEC of runs and bundles, a tree {"encode": …, "decode": …, "statistics": {"mean",
"std"}}. The statistics are those of encoded training pictures, (channels,) each. They are measured once the weights are
trained, so they belong to them and not to the settings, and the two sides of the codec apply them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from export.edge.errors import UserError
from jax_impl.model.blocks import Dtype, everywhere
from jax_impl.model.codec import Codec, CodecConfig
from jax_impl.model.registry import NetworkConfig
from jax_impl.shapes import Cond, Features, RandomKey, Timesteps

Tree = Any
"""A nested dict of arrays, as `nnx.to_pure_dict` makes it."""
STATISTICS, MEAN, STD = "statistics", "mean", "std"


@dataclass(frozen=True)
class LearnedCodecConfig(CodecConfig):
    """Settings of a codec with weights; a subclass gives the two networks.

    `mean` and `std` of the settings stay 0 and 1: the statistics are among the weights.
    """

    channels: int = 8
    """Channels of the state."""
    mean: tuple[float, ...] = ()
    """Zeros, also where it is empty: the mean of each channel of an encoded picture is stored with the weights."""
    std: tuple[float, ...] = ()
    """Ones, also where it is empty: the standard deviations are stored with the weights."""

    learned: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name, value in (("mean", 0.0), ("std", 1.0)):
            if not getattr(self, name):
                object.__setattr__(self, name, (value,) * self.channels)
        super().__post_init__()

    @abstractmethod
    def sides(self, rngs: nnx.Rngs) -> tuple[nnx.Module, nnx.Module]:
        """The encoder, called with pictures, and the decoder, called with what the encoder returns; fresh weights."""

    def create(self) -> Codec:
        """Raises UserError: there are no weights yet."""
        raise UserError(
            f"the codec {self.codec} has no weights; train them with --stages autoencoder denoising, or name a bundle "
            "that has them with --init-from"
        )

    def filled(self, weights: Tree) -> CodecConfig:
        """The settings with these weights, whose codec is complete."""
        return Filled(self.codec, self.factor, self.channels, self.mean, self.std, self, weights)

    def fresh(self, key: RandomKey) -> Tree:
        """Random weights, and statistics that change nothing."""
        encoder, decoder = (_weights(side) for side in self.sides(nnx.Rngs(key)))
        return with_statistics({"encode": encoder, "decode": decoder}, *unknown_statistics(self.channels))

    def apply(self, weights: Tree) -> Codec:
        """The two networks with their weights, without the statistics; a pure function."""
        encoder, decoder = _graphs(self)

        def by(graph: nnx.GraphDef, params: Tree) -> Callable[[jax.Array], jax.Array]:
            return lambda values: nnx.merge(graph, nnx.State(params))(values)

        return Codec(by(encoder, weights["encode"]), by(decoder, weights["decode"]))


@dataclass(frozen=True, eq=False)
class Filled(CodecConfig):
    """The settings of a learned codec with its weights, as stages and samplers use them; they are never written."""

    own: LearnedCodecConfig | None = None
    weights: Tree = field(default=None, repr=False)

    learned: ClassVar[bool] = True

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        """Only with itself: weights are not compared."""
        return self is other

    def create(self) -> Codec:
        """The codec with its weights, which applies the statistics among them."""
        assert self.own is not None
        plain = self.own.apply(self.weights)
        mean, std = (everywhere(self.weights[STATISTICS][name]) for name in (MEAN, STD))
        return Codec(
            lambda picture: (plain.encode(picture) - mean) / std, lambda state: plain.decode(state * std + mean)
        )


def unknown_statistics(channels: int) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation that change nothing, (channels,) each."""
    return jnp.zeros(channels), jnp.ones(channels)


def with_statistics(weights: Tree, mean: jax.Array, std: jax.Array) -> Tree:
    """The tree of CODEC: weights of both sides and the statistics of what they encode."""
    return {**weights, STATISTICS: {MEAN: mean, STD: std}}


@dataclass(frozen=True)
class ReconstructionConfig(NetworkConfig):
    """A learned codec as a network: cond, a picture, to itself. The state and the timestep are not used."""

    architecture: str = "reconstruction"
    codec: LearnedCodecConfig | None = None

    @property
    def size_multiple(self) -> int:
        """That of the codec."""
        assert self.codec is not None
        return self.codec.factor

    def create(self, timesteps: int, rngs: nnx.Rngs, dtype: Dtype = None, state_channels: int = 3) -> nnx.Module:
        """The network, whose weights are {"encode": …, "decode": …}."""
        assert self.codec is not None
        return Reconstruction(*self.codec.sides(rngs))


class Reconstruction(nnx.Module):
    """The decoder after the encoder."""

    def __init__(self, encode: nnx.Module, decode: nnx.Module) -> None:
        self.encode, self.decode = encode, decode

    def __call__(
        self, x_t: Features, cond: Cond, t: Timesteps, *, train: bool, key: RandomKey | None = None
    ) -> Features:
        """cond (batch, height, width, 3) to the same shape."""
        return self.decode(self.encode(cond[..., :3]))


def _weights(side: nnx.Module) -> Tree:
    return nnx.to_pure_dict(nnx.state(side, nnx.Param))


@lru_cache(maxsize=8)
def _graphs(config: LearnedCodecConfig) -> tuple[nnx.GraphDef, nnx.GraphDef]:
    """Of both sides, without their weights."""
    encoder, decoder = nnx.eval_shape(lambda: config.sides(nnx.Rngs(0)))
    return nnx.graphdef(encoder), nnx.graphdef(decoder)
