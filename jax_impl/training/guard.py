"""Steps that would do harm: found on the device, skipped there and counted; the host does not wait for the result.

optax.apply_if_finite is no substitute: it keeps the optimiser alone from such a step, not
the moving averages and BatchNorm's statistics, and after its limit it lets the step through.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jax_impl.config.tree import OptimConfig
from jax_impl.model.network import Tree
from jax_impl.training.interfaces import Guard, StageState

MEMORY = 100
"""Taken steps over which the mean loss is formed, and before which no loss counts as a spike."""
NON_FINITE, SPIKE, IN_A_ROW = "non_finite", "spike", "in_a_row"


def check_step(
    optim: OptimConfig, state: StageState, metrics: dict[str, jax.Array], stats: Tree
) -> tuple[Guard, dict[str, jax.Array]]:
    """The guard after a step from `state`, and marks to go among the step's metrics.

    A step is to be skipped where its loss, its gradient or its new BatchNorm statistics
    are not finite; and, with optim.spike_factor above 0, where its loss is more than that
    many times the mean of the earlier ones. `metrics` holds its `loss` and `grad_norm`,
    scalars. The marks are `non_finite` and `spike`, whether it is skipped for that, and
    `in_a_row`, how many have been up to this one; 0 says that it is taken.
    """
    guard, loss = state.guard, metrics["loss"]
    taken = state.step - guard.skipped
    # The norm is finite only where every gradient is.
    finite = jnp.isfinite(loss) & jnp.isfinite(metrics["grad_norm"])
    for statistic in jax.tree.leaves(stats):
        finite &= jnp.all(jnp.isfinite(statistic))
    spike = jnp.zeros((), bool)
    if optim.spike_factor > 0.0:
        spike = finite & (taken >= MEMORY) & (loss > optim.spike_factor * guard.mean_loss.astype(loss.dtype))
    good = finite & ~spike
    remembered, before = jnp.minimum(taken + 1, MEMORY).astype(loss.dtype), guard.mean_loss.astype(loss.dtype)
    mean_loss = before + (loss - before) / remembered
    after = Guard(
        guard.non_finite + (~finite).astype(guard.non_finite.dtype),
        guard.spikes + spike.astype(guard.spikes.dtype),
        jnp.where(good, 0, guard.in_a_row + 1),
        jnp.where(good, mean_loss.astype(guard.mean_loss.dtype), guard.mean_loss),
    )
    return after, {NON_FINITE: ~finite, SPIKE: spike, IN_A_ROW: after.in_a_row}


def describe_skipped(state: StageState) -> str:
    """How many steps of a stage were skipped, and why, as a line of its own; empty where none was."""
    non_finite, spikes, step = (int(count) for count in (state.guard.non_finite, state.guard.spikes, state.step))
    if non_finite + spikes == 0:
        return ""
    return f"{non_finite + spikes} of {step} steps were skipped: {non_finite} not finite, {spikes} loss spikes\n"
