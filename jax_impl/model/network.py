"""The functional border: a network is a static definition plus two trees of arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
from flax import nnx

from jax_impl.config import Config, SeedModelConfig
from jax_impl.model.seed_unet import SeedUNet
from jax_impl.model.unet import UNet

Tree = Any
"""A nested dict of arrays, as `nnx.to_pure_dict` makes it."""


@dataclass(frozen=True)
class Network:
    """What stays the same while weights change: hashable, so `jax.jit` takes it as static."""

    graph: nnx.GraphDef

    def apply(
        self, params: Tree, stats: Tree, x_t: jax.Array, cond: jax.Array, t: jax.Array, *, train: bool = False
    ) -> tuple[jax.Array, Tree]:
        """Run the network; returns its output and the BatchNorm statistics after the call.

        x_t, cond: (batch, height, width, 3), the target noised and the guiding picture
        in [-1, 1]; t: integers (batch,). Output: (batch, height, width, 3). With
        `train=False` the statistics come back unchanged.
        """
        module = nnx.merge(self.graph, nnx.State(params), nnx.State(stats))
        output = module(x_t, cond, t, train=train)
        return output, nnx.to_pure_dict(nnx.state(module, nnx.BatchStat))


def build(config: Config, key: jax.Array) -> tuple[Network, Tree, Tree]:
    """Make the network of `config.model` with fresh weights: (network, params, stats)."""
    rngs = nnx.Rngs(key)
    module: nnx.Module
    if isinstance(config.model, SeedModelConfig):
        module = SeedUNet(config.model, config.diffusion.timesteps, rngs=rngs)
    else:
        module = UNet(config.model, rngs=rngs)
    graph, params, stats = nnx.split(module, nnx.Param, nnx.BatchStat)
    return Network(graph), nnx.to_pure_dict(params), nnx.to_pure_dict(stats)


def outline(config: Config) -> tuple[Network, Tree, Tree]:
    """The network, and trees of its parameters' and statistics' shapes and dtypes; no weights are drawn."""
    networks = []

    def trees() -> tuple[Tree, Tree]:
        network, params, stats = build(config, jax.random.key(0))
        networks.append(network)
        return params, stats

    params, stats = jax.eval_shape(trees)
    return networks[0], params, stats


def count(params: Tree) -> int:
    """Number of scalars in a tree."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def flatten(tree: Tree) -> dict[str, jax.Array]:
    """A nested tree as one dict, names joined by dots: {"down.0.blocks.1.conv1.kernel": …}."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {".".join(str(part.key) for part in path): leaf for path, leaf in leaves}
