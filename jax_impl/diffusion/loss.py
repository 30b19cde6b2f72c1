"""The training loss."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jax_impl.config.tree import DiffusionConfig


def hybrid_loss(
    output: jax.Array, target: jax.Array, mae_weight: float, weight: jax.Array | float = 1.0
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean squared error plus `mae_weight` times the mean absolute error, over every element.

    output, target: (batch, height, width, channels) on the network's own target. weight:
    of each picture's errors, broadcasting to them, such as (batch, 1, 1, 1).
    Returns the loss and its two terms, weighted too, all scalars.
    """
    error = output - target
    mse = jnp.mean(weight * jnp.square(error))
    mae = jnp.mean(weight * jnp.abs(error))
    return mse + mae_weight * mae, {"mse": mse, "mae": mae}


def loss_weight(config: DiffusionConfig, signal: jax.Array, noise: jax.Array) -> jax.Array | float:
    """Weight w(t) of a picture's errors on the network's own target, shaped like the levels √ᾱ_t and √(1-ᾱ_t).

    `min_snr`: the weight min(SNR, γ) of the error of x0, with SNR = ᾱ_t/(1-ᾱ_t), in terms
    of the target: over SNR for eps, over SNR + 1 for v (Hang et al. 2023, section 3.4).
    """
    if config.loss_weight == "uniform":
        return 1.0
    snr = jnp.square(signal / noise)
    if config.prediction == "eps":
        return jnp.minimum(1.0, config.snr_gamma / snr)
    weight = jnp.minimum(snr, config.snr_gamma)
    return weight if config.prediction == "x0" else weight / (snr + 1.0)
