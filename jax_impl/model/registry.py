"""The networks that `model.architecture` names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Literal

from flax import nnx

from jax_impl.config import tagged
from jax_impl.config.fields import TRAINING_ONLY
from jax_impl.model.blocks import Dtype

ComputeDtype = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class NetworkConfig(ABC):
    """Settings of a network; a subclass names itself in `architecture` and is added to NETWORKS under that name."""

    architecture: str
    compute_dtype: ComputeDtype = field(default="float32", metadata=TRAINING_ONLY)
    """Arithmetic of training; weights, normalisation, the last layer and everything after training stay float32."""

    @property
    @abstractmethod
    def size_multiple(self) -> int:
        """Height and width must be multiples of this, pixels."""

    @property
    def cond_channels(self) -> int:
        """Most channels of cond that the network reads, before a codec encodes it: 3, or 5 with coordinates."""
        return 3

    @abstractmethod
    def create(self, timesteps: int, rngs: nnx.Rngs, dtype: Dtype = None, state_channels: int = 3) -> nnx.Module:
        """The network with fresh weights.

        `timesteps`: T; `dtype`: what it computes in, whatever its float32 weights are; `state_channels`: C, of
        pictures, or of a codec's states. The module is called as `module(x_t, cond, t, train=…, key=…)`: x_t (batch,
        height, width, C), cond the same, with two channels more for coordinates, t integers (batch,), `key` for what is
        dropped in training. It returns x_t's shape.
        """


NETWORKS = tagged.registry(NetworkConfig, "architecture", "network")
