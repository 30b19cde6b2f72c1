"""A network with weights drawn by numpy: JAX would compile a program to draw them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_impl.config.tree import Config
from jax_impl.model.network import Network, Tree, flatten, outline


def drawn(config: Config, seed: int = 0) -> tuple[Network, Tree, Tree]:
    """(network, params, stats), float32: kernels and biases random, of about the size of fresh ones; nothing is zero.

    Scales and variances are one, and means zero, but for a tenth of noise.
    """
    rng, (network, *trees) = np.random.default_rng(seed), outline(config)

    def draw(name: str, shape: tuple[int, ...]) -> jax.Array:
        spread = np.prod(shape[:-1]) ** -0.5 if len(shape) > 1 else 0.1
        start = float(name.endswith((".scale", ".var")))
        return jnp.asarray((start + spread * rng.standard_normal(shape)).astype(np.float32))

    def fill(tree: Any) -> Tree:
        return jax.tree.unflatten(jax.tree.structure(tree), [draw(n, leaf.shape) for n, leaf in flatten(tree).items()])

    params, stats = map(fill, trees)
    return network, params, stats
