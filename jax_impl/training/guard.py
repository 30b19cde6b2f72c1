"""Steps that would do harm: found on the device, undone there, counted, and never waited for.

optax.apply_if_finite is no substitute: it keeps the optimiser alone from such a step, not
the moving averages and BatchNorm's statistics, and after its limit it lets the step through.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from jax_impl.config import OptimConfig
from jax_impl.training.state import Guard, TrainState

MEMORY = 100
"""Taken steps over which the mean loss is formed, and before which no loss counts as a spike."""
NON_FINITE, SPIKE, IN_A_ROW = "non_finite", "spike", "in_a_row"


def undo_if_harmful(
    optim: OptimConfig, before: TrainState, after: TrainState, metrics: dict[str, jax.Array]
) -> tuple[TrainState, dict[str, jax.Array]]:
    """The state after a step that was taken, or that before it with nothing but its step and counters moved on.

    A step is undone where its loss, its gradient or its BatchNorm statistics are not
    finite; and, with optim.spike_factor above 0, where its loss is more than that many
    times the mean of the earlier ones. `metrics` holds the step's `loss` and `grad_norm`,
    scalars; added to them are `non_finite` and `spike`, whether this step was undone for
    it, and `in_a_row`, how many were up to this one.

    It chooses element by element, because a branch would have a GPU ask the host.
    """
    guard, loss = before.guard, metrics["loss"]
    # The norm is finite only where every gradient is.
    finite = jnp.isfinite(loss) & jnp.isfinite(metrics["grad_norm"])
    for statistic in jax.tree.leaves(after.stats):
        finite &= jnp.all(jnp.isfinite(statistic))
    spike = jnp.zeros((), bool)
    if optim.spike_factor > 0.0:
        spike = finite & (before.taken >= MEMORY) & (loss > optim.spike_factor * guard.mean_loss)
    good = finite & ~spike
    mean_loss = guard.mean_loss + (loss - guard.mean_loss) / jnp.minimum(before.taken + 1, MEMORY)
    guard = Guard(
        guard.non_finite + ~finite,
        guard.spikes + spike,
        jnp.where(good, 0, guard.in_a_row + 1),
        jnp.where(good, mean_loss, guard.mean_loss),
    )
    learned = jax.tree.map(lambda new, old: jnp.where(good, new, old), _learned(after), _learned(before))
    marks = {NON_FINITE: ~finite, SPIKE: spike, IN_A_ROW: guard.in_a_row}
    return replace(after, **learned, guard=guard), metrics | marks


def describe_skipped(state: TrainState) -> str:
    """How many steps of a run were skipped, and why, as a line of its own; empty where none was."""
    non_finite, spikes, step = (int(count) for count in (state.guard.non_finite, state.guard.spikes, state.step))
    if non_finite + spikes == 0:
        return ""
    return f"{non_finite + spikes} of {step} steps were skipped: {non_finite} not finite, {spikes} loss spikes\n"


def _learned(state: TrainState) -> dict[str, Any]:
    """All of a state that a step may change for the worse."""
    return {name: getattr(state, name) for name in ("params", "stats", "ema", "more_ema", "opt_state")}
