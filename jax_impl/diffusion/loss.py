"""The training loss."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def hybrid_loss(output: jax.Array, target: jax.Array, mae_weight: float) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean squared error plus `mae_weight` times the mean absolute error, over every element.

    output, target: (batch, height, width, channels) on the network's own target.
    Returns the loss and its two terms, all scalars.
    """
    error = output - target
    mse = jnp.mean(jnp.square(error))
    mae = jnp.mean(jnp.abs(error))
    return mse + mae_weight * mae, {"mse": mse, "mae": mae}
