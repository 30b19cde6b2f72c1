"""The networks that `model.architecture` of a bundle's configuration names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import nn

from export.edge.registry import Registry
from torch_ref.base import Denoiser

MOST = 4096
"""Largest number in a setting of a network."""


@dataclass(frozen=True)
class Network:
    """How a network is made from its settings in the configuration, and how JAX calls its parameters."""

    create: Callable[..., Denoiser]
    """`create(timesteps=T, state_channels=C, **settings)`: the network with torch's fresh weights, for pictures, or
    states of a codec, of C channels; the settings are those of `config.model` without `architecture` and what is
    `ignored`. It raises TypeError or ValueError for settings that make no network."""
    ignored: frozenset[str] = frozenset({"compute_dtype"})
    """Settings that decide how JAX trains it; here arithmetic is that of the weights' dtype."""
    modules: Mapping[str, str] | None = None
    """JAX's name of every module that has parameters, by torch's; None where they are the same."""
    leaves: Mapping[tuple[type[nn.Module], str], tuple[str, tuple[int, ...]]] = field(default_factory=dict)
    """Parameters of kinds of modules that `torch_ref.weights.LEAVES` lacks, in the same form."""
    most: Mapping[str, int] = field(default_factory=dict)
    """Largest values of settings, where that is less than MOST: a file that asks for more is refused at once."""


NETWORKS: Registry[Network] = Registry("network")
