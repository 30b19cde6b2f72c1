"""The functional border: a network is a static definition plus two trees of arrays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jax_impl.config.tree import Config
from jax_impl.model.blocks import Dtype
from jax_impl.model.registry import NetworkConfig
from jax_impl.shapes import Cond, Features, RandomKey, Timesteps

Tree = Any
"""A nested dict of arrays, as `nnx.to_pure_dict` makes it."""


@dataclass(frozen=True)
class Network:
    """What stays the same while weights change: hashable, so `jax.jit` takes it as static."""

    graph: nnx.GraphDef
    training_graph: nnx.GraphDef
    """The same network with the arithmetic of training, `model.compute_dtype`."""

    def apply(
        self,
        params: Tree,
        stats: Tree,
        x_t: Features,
        cond: Cond,
        t: Timesteps,
        *,
        train: bool = False,
        key: RandomKey | None = None,
    ) -> tuple[Features, Tree]:
        """Run the network; returns its output and the BatchNorm statistics after the call.

        x_t, cond: (batch, height, width, channels), the target noised and the guiding picture, as states
        of the codec; t: integers (batch,). Output: x_t's shape. A network with
        coordinates takes a cond of 5 channels too, see `jax_impl.model.unet`. With
        `train=False` the statistics come back unchanged, nothing is dropped, and the
        arithmetic is that of the exported file; with `train=True` a network with dropout
        needs a `key`, or raises ValueError.
        """
        module = nnx.merge(self.training_graph if train else self.graph, nnx.State(params), nnx.State(stats))
        output = module(x_t, cond, t, train=train, key=key)
        return output, nnx.to_pure_dict(nnx.state(module, nnx.BatchStat))


def build(config: Config, key: RandomKey) -> tuple[Network, Tree, Tree]:
    """Make the network of `config.model` with fresh weights: (network, params, stats)."""
    return _build(config.model, config.diffusion.timesteps, config.codec.channels, key)


def outline(config: Config) -> tuple[Network, Tree, Tree]:
    """The network, and trees of its parameters' and statistics' shapes and dtypes; no weights are drawn."""
    network, params, stats = _outline(config.model, config.diffusion.timesteps, config.codec.channels)
    return network, *jax.tree.map(lambda leaf: leaf, (params, stats))  # Trees of the caller's own.


@lru_cache(maxsize=8)
def _outline(model: NetworkConfig, timesteps: int, channels: int) -> tuple[Network, Tree, Tree]:
    """Kept, since a run asks several times, and tracing a network takes seconds."""
    networks = []

    def trees() -> tuple[Tree, Tree]:
        network, params, stats = _build(model, timesteps, channels, jax.random.key(0))
        networks.append(network)
        return params, stats

    params, stats = jax.eval_shape(trees)
    return networks[0], params, stats


def _build(model: NetworkConfig, timesteps: int, channels: int, key: RandomKey) -> tuple[Network, Tree, Tree]:
    def make(dtype: Dtype = None) -> nnx.Module:
        return model.create(timesteps, nnx.Rngs(key), dtype, channels)

    graph, params, stats = nnx.split(make(), nnx.Param, nnx.BatchStat)
    training_graph = graph
    if model.compute_dtype != "float32":
        training_graph = nnx.graphdef(nnx.eval_shape(lambda: make(jnp.dtype(model.compute_dtype))))
    return Network(graph, training_graph), nnx.to_pure_dict(params), nnx.to_pure_dict(stats)


def count(params: Tree) -> int:
    """Number of scalars in a tree."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def flatten(tree: Tree) -> dict[str, Any]:
    """A nested tree as one dict, names joined by dots: {"down.0.blocks.1.conv1.kernel": …}."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {".".join(str(part.key) for part in path): leaf for path, leaf in leaves}
