"""AdamW and Muon, their learning rate over time, and clipping, with torch's arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jax_impl.config.tree import OptimConfig
from jax_impl.training.muon import Good, is_matrix, scale_by_muon


def learning_rate(config: OptimConfig, steps_per_epoch: int, total: int | jax.Array) -> Callable[[Any], jax.Array]:
    """Learning rate as a function of the step counted from 0.

    `step`: times decay_factor every decay_epochs, like torch's StepLR; `cosine`: half a
    cosine from its full value to zero at the last step (Loshchilov & Hutter 2017, eq. 5).
    Either one after a linear rise over warmup_steps. `total`: steps of the stage, which may be
    traced, so that one program serves runs of any length; optax's own schedules want it as a constant.
    """
    warmup, peak = config.warmup_steps, config.learning_rate

    def rate(step: Any) -> jax.Array:
        # In the default float: whole numbers divided by each other give float32 even under x64, 2e-6 of the rate off.
        now = jnp.asarray(step, float)
        if config.schedule == "cosine":
            length = jnp.maximum(jnp.asarray(total, float) - warmup, 1.0)
            main = peak * 0.5 * (1.0 + jnp.cos(jnp.pi * jnp.clip(now - warmup, 0.0, length) / length))
        else:
            drops = jnp.asarray(jnp.asarray(step) // (config.decay_epochs * steps_per_epoch), float)
            main = peak * jnp.power(config.decay_factor, drops)
        # The first step already moves: n steps of warm-up take the values 1/n, 2/n, … 1.
        return main if warmup == 0 else jnp.where(now < warmup, peak / warmup * (now + 1.0), main)

    return rate


def clip_by_global_norm(limit: float) -> optax.GradientTransformation:
    """Scale the gradient by min(1, limit / (norm + 1e-6)), as torch does; optax has no such 1e-6."""

    def update(updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None) -> tuple:
        del params
        scale = jnp.minimum(1.0, limit / (optax.tree.norm(updates) + 1e-6))
        return jax.tree.map(lambda g: g * scale, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def scale_by_adam(b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> optax.GradientTransformationExtraArgs:
    """Adam's direction (Kingma & Ba 2015, algorithm 1), its moments' bias taken out to the last digit.

    optax.scale_by_adam, whose state this shares, forms 1 - β^n by raising a float32 β: for
    β = 0.999 the result is off by 1e-5 of itself, over hundreds of steps the same way. torch
    takes it in float64. Here it is -expm1(n · log β), where only log β is rounded. Its
    update takes `good`, a bool scalar: where that is false the moments stay as they are.
    """

    def update(updates: optax.Updates, state: Any, params: optax.Params | None = None, *, good: Good = True) -> tuple:
        del params
        mu = optax.tree.where(good, optax.tree.update_moment(updates, state.mu, b1, 1), state.mu)
        nu = optax.tree.where(good, optax.tree.update_moment_per_elem_norm(updates, state.nu, b2, 2), state.nu)
        count = optax.safe_increment(state.count)
        unbias1, unbias2 = (-jnp.expm1(jnp.asarray(count, float) * math.log(b)) if b else 1.0 for b in (b1, b2))

        def towards(m: jax.Array, v: jax.Array) -> jax.Array:
            return (m / jnp.asarray(unbias1, m.dtype)) / (jnp.sqrt(v / jnp.asarray(unbias2, v.dtype)) + eps)

        direction = jax.tree.map(towards, mu, nu)
        return direction, optax.ScaleByAdamState(jnp.where(good, count, state.count), mu, nu)

    return optax.GradientTransformationExtraArgs(optax.scale_by_adam(b1, b2, eps).init, update)


def scale_by_learning_rate(schedule: optax.Schedule) -> optax.GradientTransformationExtraArgs:
    """optax's own, but that a step whose `good` is false is not counted."""
    inner = optax.scale_by_learning_rate(schedule)

    def update(updates: optax.Updates, state: Any, params: optax.Params | None = None, *, good: Good = True) -> tuple:
        scaled, after = inner.update(updates, state, params)
        return scaled, optax.tree.where(good, after, state)

    return optax.GradientTransformationExtraArgs(inner.init, update)


def make_optimizer(
    config: OptimConfig, schedule: optax.Schedule, betas: tuple[float, float] = (0.9, 0.999)
) -> optax.GradientTransformation:
    """Clipping, then AdamW (Loshchilov & Hutter 2019, algorithm 2), or Muon for the matrices and AdamW for all else.

    Its update takes `good`, a bool scalar: where that is false its state stays as it is, and the updates are to be
    thrown away.
    """
    direction = scale_by_adam(*betas)
    if config.optimizer == "muon":
        direction = optax.partition({"matrices": scale_by_muon(), "others": direction}, kinds)
    steps = optax.chain(direction, optax.add_decayed_weights(config.weight_decay), scale_by_learning_rate(schedule))
    return optax.chain(clip_by_global_norm(config.clip_norm), steps) if config.clip_norm > 0 else steps


def kinds(params: optax.Params) -> optax.Params:
    """For each parameter, whether it is one of the `matrices` or of the `others`."""
    return jax.tree.map(lambda parameter: "matrices" if is_matrix(parameter) else "others", params)
