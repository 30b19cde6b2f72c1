"""The patch discriminator of the realism stage: it never leaves training."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jax_impl.shapes import Array, Features, Float, RandomKey

SLOPE = 0.2
"""Of the leaky ReLU below zero."""
LAYERS = ((1, 4, 2), (2, 4, 2), (4, 3, 1), (4, 4, 2))
"""Each convolution's channels as a multiple of the width, side of the kernel, and stride."""


class Discriminator(nnx.Module):
    """Scores of patches of a picture, given its input: convolutions and leaky ReLUs without norms.

    Two outputs (Isola et al. 2017, section 3.2.2, at two scales): a score for every 4 × 4 pixels, and for every 8 × 8.
    """

    def __init__(self, channels: int, width: int, rngs: nnx.Rngs) -> None:
        """`channels`: of a picture; its input has as many."""
        before, convs = 2 * channels, []
        for multiple, side, stride in LAYERS:
            convs.append(_conv(before, multiple * width, side, stride, rngs))
            before = multiple * width
        self.convs = nnx.List(convs)
        self.fine, self.coarse = _conv(4 * width, 1, 1, 1, rngs), _conv(4 * width, 1, 3, 1, rngs)

    def __call__(self, pictures: Features, cond: Features) -> Float[Array, "batch places"]:
        """The scores of all patches, those of 4 × 4 pixels first; higher for what looks real."""
        x, features = jnp.concatenate([pictures, cond], axis=-1), []
        for conv in self.convs:
            x = nnx.leaky_relu(conv(x), SLOPE)
            features.append(x)
        outputs = (self.fine(features[2]), self.coarse(features[3]))
        return jnp.concatenate([output.reshape(len(output), -1) for output in outputs], axis=1)


def _conv(before: int, after: int, side: int, stride: int, rngs: nnx.Rngs) -> nnx.Conv:
    # He et al. 2015 for a leaky ReLU.
    init = nnx.initializers.variance_scaling(2.0 / (1.0 + SLOPE**2), "fan_in", "normal")
    margin = 1 if side > 1 else 0
    padding = ((margin, margin), (margin, margin))
    return nnx.Conv(before, after, (side, side), strides=stride, padding=padding, kernel_init=init, rngs=rngs)


def fresh(channels: int, width: int, key: RandomKey) -> Any:
    """Random weights, a nested dict of arrays."""
    return nnx.to_pure_dict(nnx.state(Discriminator(channels, width, nnx.Rngs(key)), nnx.Param))


def scores(channels: int, width: int, weights: Any, pictures: jax.Array, cond: jax.Array) -> jax.Array:
    """Scores (batch, places) of pictures by a discriminator with these weights."""
    graph = nnx.graphdef(nnx.eval_shape(lambda: Discriminator(channels, width, nnx.Rngs(0))))
    return nnx.merge(graph, nnx.State(weights))(pictures, cond)
