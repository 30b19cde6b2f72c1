"""Gradient checkpointing: activations that the backward pass computes again (Chen et al. 2016b)."""

from __future__ import annotations

from collections.abc import Callable

import jax
from flax import nnx

KEPT = {"nothing": jax.checkpoint_policies.nothing_saveable, "products": jax.checkpoint_policies.dots_saveable}
"""By `model.remat_keeps`: what of a block's activations waits for the backward pass."""
Remat = Callable[..., bool] | None
"""One of KEPT with gradient checkpointing, None without."""


def run(module: nnx.Module, remat: Remat, *inputs: jax.Array | None) -> jax.Array:
    """The module's output; the backward pass computes again what `remat` does not keep."""
    call = type(module).__call__
    return (nnx.remat(call, policy=remat) if remat is not None else call)(module, *inputs)
