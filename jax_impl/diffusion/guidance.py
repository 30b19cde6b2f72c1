"""Classifier-free guidance: away from what the network draws without the guiding picture."""

from __future__ import annotations

import jax.numpy as jnp

from jax_impl.diffusion.samplers import Denoise
from jax_impl.shapes import Cond, Features, Timesteps

HIDDEN = 0.0
"""Value of every pixel of a guiding picture that is hidden: middle grey."""


def hide(cond: Cond, channels: int = 3) -> Cond:
    """cond with its picture, its first `channels`, hidden: where its pixels lie, in the two behind, stays known."""
    return jnp.concatenate([jnp.full_like(cond[..., :channels], HIDDEN), cond[..., channels:]], axis=-1)


def guided(denoise: Denoise, scale: float) -> Denoise:
    """`denoise` with its output moved to hidden + scale · (shown - hidden), at twice the cost.

    (Ho & Salimans 2022, eq. 6, with scale = 1 + w.) In eps, x0 and v alike, since each is
    linear in the others for a given x_t. A scale of 1 is the denoiser as it is.
    """
    if scale == 1.0:
        return denoise

    def both(x_t: Features, cond: Cond, t: Timesteps) -> Features:
        conds = jnp.concatenate([cond, hide(cond, x_t.shape[-1])])
        shown, hidden = jnp.split(denoise(jnp.concatenate([x_t, x_t]), conds, jnp.concatenate([t, t])), 2)
        return hidden + scale * (shown - hidden)

    return both
