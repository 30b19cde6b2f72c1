"""The forward process and the three ways to say what noise is in a picture.

Everywhere x_t = √ᾱ_t · x0 + √(1 - ᾱ_t) · eps. `signal` is √ᾱ_t and `noise` is √(1 - ᾱ_t),
shaped to broadcast against (batch, height, width, channels).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from export.edge.sampling.table import Prediction
from jax_impl.diffusion.schedule import Levels


def levels_at(levels: Levels, t: jax.Array, dtype: jnp.dtype) -> tuple[jax.Array, jax.Array]:
    """Signal and noise level of timesteps t (batch,), each (batch, 1, 1, 1)."""
    signal, noise = jnp.asarray(levels.signal, dtype), jnp.asarray(levels.noise, dtype)
    return signal[t][:, None, None, None], noise[t][:, None, None, None]


def q_sample(x0: jax.Array, eps: jax.Array, signal: jax.Array, noise: jax.Array) -> jax.Array:
    """Noise a clean picture: a draw of q(x_t | x0) for standard normal eps (Ho et al. 2020, eq. 4)."""
    return signal * x0 + noise * eps


def target(prediction: Prediction, x0: jax.Array, eps: jax.Array, signal: jax.Array, noise: jax.Array) -> jax.Array:
    """What the network should say: eps, x0, or v = √ᾱ eps - √(1-ᾱ) x0 (Salimans & Ho 2022, appendix D)."""
    if prediction == "eps":
        return eps
    if prediction == "x0":
        return x0
    return signal * eps - noise * x0


def to_x0(prediction: Prediction, output: jax.Array, x_t: jax.Array, signal: jax.Array, noise: jax.Array) -> jax.Array:
    """The clean picture that a network's output stands for, unclamped."""
    if prediction == "eps":
        return (x_t - noise * output) / signal
    if prediction == "x0":
        return output
    return signal * x_t - noise * output
