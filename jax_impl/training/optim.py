"""AdamW, its learning rate over time, and clipping, with torch's arithmetic."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from jax_impl.config import OptimConfig


def learning_rate(config: OptimConfig, steps_per_epoch: int, epochs: int) -> optax.Schedule:
    """Learning rate as a function of the step counted from 0.

    `step`: times decay_factor every decay_epochs, like torch's StepLR; `cosine`: half a
    cosine from its full value to zero at the last step (Loshchilov & Hutter 2017, eq. 5).
    Either one after a linear rise over warmup_steps.
    """
    total = steps_per_epoch * epochs
    if config.schedule == "cosine":
        main = optax.cosine_decay_schedule(config.learning_rate, max(total - config.warmup_steps, 1))
    else:
        # Constants per piece: exponential_decay loses three digits to float32.
        boundaries = {
            epoch * steps_per_epoch - config.warmup_steps: config.decay_factor
            for epoch in range(config.decay_epochs, epochs, config.decay_epochs)
        }
        main = optax.piecewise_constant_schedule(config.learning_rate, boundaries)
    if config.warmup_steps == 0:
        return main
    # The first step already moves: n steps of warm-up take the values 1/n, 2/n, … 1.
    first = config.learning_rate / config.warmup_steps
    rise = optax.linear_schedule(first, config.learning_rate, max(config.warmup_steps - 1, 1))
    return optax.join_schedules([rise, main], [config.warmup_steps])


def clip_by_global_norm(limit: float) -> optax.GradientTransformation:
    """Scale the gradient by min(1, limit / (norm + 1e-6)), as torch does; optax has no such 1e-6."""

    def update(updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None) -> tuple:
        del params
        scale = jnp.minimum(1.0, limit / (optax.tree.norm(updates) + 1e-6))
        return jax.tree.map(lambda g: g * scale, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def make_optimizer(config: OptimConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    """Clipping, then AdamW (Loshchilov & Hutter 2019, algorithm 2) on every parameter."""
    adamw = optax.adamw(schedule, weight_decay=config.weight_decay)
    return optax.chain(clip_by_global_norm(config.clip_norm), adamw) if config.clip_norm > 0 else adamw
