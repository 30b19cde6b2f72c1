"""A step that would do harm leaves no trace but its number and the counters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_impl.config.tree import Config, OptimConfig
from jax_impl.data.loader import load
from jax_impl.training.guard import MEMORY, check_step, describe_skipped
from jax_impl.training.interfaces import Batch
from jax_impl.training.objective import Problem
from jax_impl.training.optim import learning_rate, make_optimizer
from jax_impl.training.progress import fetch
from jax_impl.training.state import Guard, TrainState, create, to_arrays
from jax_impl.training.step import StepFunction, make_train_step

SmallConfig = Callable[..., Config]


class Setup(NamedTuple):
    state: TrainState
    step: StepFunction
    pairs: Batch

    def take(self, state: TrainState) -> tuple[TrainState, dict[str, float]]:
        after, metrics = self.step(jax.tree.map(jnp.copy, state), self.pairs, jnp.arange(2), 6)
        return after, fetch(metrics)


@pytest.fixture(scope="module")
def setup(small_config: SmallConfig) -> Setup:
    """Of the seed's network, which has statistics beside its weights."""
    config = small_config("seed")
    config = replace(config, optim=replace(config.optim, spike_factor=2.0))
    optimizer = make_optimizer(config.optim, learning_rate(config.optim, 3, 6))
    network, state = create(config, optimizer)
    problem = Problem.of(network, config)
    pairs = load(config.data, "train")
    return Setup(state, make_train_step(problem, 3), Batch(pairs.cond, pairs.x0))


def bits(state: TrainState) -> dict[str, bytes]:
    """What a skipped step must not touch."""
    kept = {name: a for name, a in to_arrays(state).items() if name != ".step" and not name.startswith(".guard")}
    return {name: np.asarray(array).tobytes() for name, array in kept.items()}


def broken(state: TrainState, value: float) -> TrainState:
    """The state with one weight set to `value`."""
    leaves, structure = jax.tree.flatten(state.params)
    leaves[-1] = leaves[-1].at[(0,) * leaves[-1].ndim].set(value)
    return replace(state, params=jax.tree.unflatten(structure, leaves))


def test_what_is_not_finite_is_skipped_bit_for_bit_and_counted(setup: Setup) -> None:
    state, _ = setup.take(setup.state)
    for value in (np.nan, np.inf, 1e38):
        now = broken(state, value)
        for in_a_row in (1, 2):
            after, metrics = setup.take(now)
            assert bits(after) == bits(now)
            assert (int(after.step), int(after.taken)) == (1 + in_a_row, 1)
            assert (metrics["non_finite"], metrics["spike"], metrics["in_a_row"]) == (1, 0, in_a_row)
            now = after
        assert describe_skipped(now) == "2 of 3 steps were skipped: 2 not finite, 0 loss spikes\n"


def test_after_a_skipped_step_it_goes_on_as_if_only_the_number_had_moved(setup: Setup) -> None:
    good, _ = setup.take(setup.state)
    skipped, _ = setup.take(broken(good, np.nan))
    healed = replace(skipped, params=good.params)
    after, metrics = setup.take(healed)
    plain, wanted = setup.take(replace(good, step=good.step + 1))
    assert metrics["loss"] == wanted["loss"]
    assert bits(after) == bits(plain)
    assert int(after.guard.in_a_row) == 0
    assert metrics["learning_rate"] == setup.take(good)[1]["learning_rate"]
    assert describe_skipped(plain) == ""


def test_a_loss_spike_is_skipped_bit_for_bit_and_counted_apart(setup: Setup) -> None:
    _, metrics = setup.take(setup.state)
    low = replace(setup.state.guard, mean_loss=jnp.float32(metrics["loss"] / 2.1))
    enough = jnp.asarray(MEMORY, jnp.int32)
    state = replace(setup.state, step=jnp.asarray(0, jnp.int32), guard=replace(low, non_finite=-enough))
    after, metrics = setup.take(state)
    assert bits(after) == bits(state)
    assert (metrics["non_finite"], metrics["spike"], metrics["in_a_row"]) == (0, 1, 1)
    assert float(after.guard.mean_loss) == float(low.mean_loss)
    early = replace(state, guard=replace(low, non_finite=1 - enough))
    assert setup.take(early)[1]["spike"] == 0


@given(
    losses=st.lists(st.floats(0.125, 4.0, width=32) | st.sampled_from([np.nan, np.inf, 100.0]), max_size=30),
    factor=st.sampled_from([0.0, 3.0]),
    before=st.sampled_from([0, MEMORY - 5, MEMORY + 50]),
)
def test_counters_follow_the_losses(setup: Setup, losses: list[float], factor: float, before: int) -> None:
    zero = np.zeros((), np.int32)
    check = jax.jit(check_step, static_argnums=0)  # Else each operation starts a program, thousands of times.
    state = replace(setup.state, step=np.int32(before), guard=Guard(zero, zero, zero, np.float32(before > 0)))
    mean, taken, in_a_row, non_finite, spikes = float(before > 0), before, 0, 0, 0
    for loss in losses:
        metrics = {"loss": jnp.float32(loss), "grad_norm": jnp.float32(1.0)}
        guard, _ = check(OptimConfig(spike_factor=factor), state, metrics, {})
        state = replace(state, step=state.step + 1, guard=guard)
        finite = np.isfinite(loss)
        spike = bool(finite and factor and taken >= MEMORY and loss > factor * mean)
        if finite and not spike:
            mean += (loss - mean) / min(taken + 1, MEMORY)
            taken, in_a_row = taken + 1, 0
        else:
            in_a_row, non_finite, spikes = in_a_row + 1, non_finite + (not finite), spikes + spike
        counted = int(state.taken), int(guard.in_a_row), int(guard.non_finite), int(guard.spikes)
        assert counted == (taken, in_a_row, non_finite, spikes)
        assert float(guard.mean_loss) == pytest.approx(mean, rel=1e-4)
