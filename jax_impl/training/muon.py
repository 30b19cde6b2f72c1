"""Muon: momentum whose matrices are made orthogonal before each step (Jordan et al. 2024, "Muon").

The gradient of a matrix has a few large singular values, which hide all others; Muon moves it by the same amount along
every one. A kernel (height, width, inputs, outputs) counts as a matrix of height · width · inputs rows and outputs
columns.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

Good = jax.Array | bool

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the polynomial of each iteration: steep at 0, and near 1 it keeps singular values between about 0.7 and 1.2."""
ITERATIONS = 5
TINY = 1e-7
"""Added to the norm that a matrix is divided by."""
ADAM_SIZE = 0.2
"""Root mean square of the steps of Adam, about, in units of the learning rate. With steps of this size matrices take
AdamW's learning rate and weight decay (Liu et al. 2025, "Muon is scalable for LLM training", section 2.2)."""


class MuonState(NamedTuple):
    """Moving average of the gradient, a tree like the parameters."""

    momentum: optax.Updates


def is_matrix(parameter: jax.Array) -> bool:
    """Whether a parameter has two dimensions or more."""
    return parameter.ndim >= 2


def scale_by_muon() -> optax.GradientTransformationExtraArgs:
    """The direction of Muon with Nesterov's momentum, as in torch.optim.Muon; every parameter has to be a matrix.

    Its update takes `good`, a bool scalar: where that is false the momentum stays as it is.
    """

    def init(params: optax.Params) -> MuonState:
        return MuonState(jax.tree.map(jnp.zeros_like, params))

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None, *, good: Good = True
    ) -> tuple[optax.Updates, MuonState]:
        del params

        def towards(mean: jax.Array, gradient: jax.Array) -> jax.Array:
            return mean + (1.0 - MOMENTUM) * (gradient - mean)

        def direction(mean: jax.Array, gradient: jax.Array) -> jax.Array:
            rows, columns = math.prod(mean.shape[:-1]), mean.shape[-1]
            ahead = gradient + MOMENTUM * (mean - gradient)
            step = orthogonal(ahead.reshape(rows, columns)).reshape(mean.shape)
            return ADAM_SIZE * math.sqrt(max(rows, columns)) * step

        momentum = optax.tree.where(good, jax.tree.map(towards, state.momentum, updates), state.momentum)
        return jax.tree.map(direction, momentum, updates), MuonState(momentum)

    return optax.GradientTransformationExtraArgs(init, update)


@jax.jit
def orthogonal(matrix: jax.Array) -> jax.Array:
    """A matrix (rows, columns) with its singular values moved to about 1; those of zero stay.

    ITERATIONS of X ← (a + b·XXᵀ + c·(XXᵀ)²) X, Newton and Schulz's with Jordan's coefficients, from X = M / ‖M‖. All
    factors are polynomials in the same XXᵀ, and commute: they are multiplied there, where the side is the shorter one
    of the matrix, which takes a third of the operations for kernels of 3 × 3.
    """
    a, b, c = COEFFICIENTS
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (jnp.linalg.norm(x) + TINY)
    gram = x @ x.T
    identity = jnp.eye(len(x), dtype=x.dtype)
    product = identity
    for i in range(ITERATIONS):
        factor = a * identity + b * gram + c * (gram @ gram)
        product = factor @ product if i else factor
        if i < ITERATIONS - 1:
            gram = factor @ (factor @ gram)
    x = product @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x
