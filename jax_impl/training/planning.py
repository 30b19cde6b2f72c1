"""The length of a stage that fits `train.minutes`, from the time that its first steps take.

The steps that are timed are thrown away: training then begins at the first step with a length that no longer changes,
so that a run that is killed and resumed repeats every step to the bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp

from jax_impl.runs.plan import write_plan
from jax_impl.training.feed import Feed
from jax_impl.training.interfaces import NamedNetworks, StepFunction
from jax_impl.training.leadership import broadcast_from_primary, is_primary
from jax_impl.training.mesh import on_one_device
from jax_impl.training.progress import fetch
from jax_impl.training.session import Position, Session

STEPS = 8
"""Steps that are timed, after the one that compiles."""
RESERVE = 0.03
"""Share of the time that is kept for what is not measured: checkpoints, the log, the loss plot."""

Report = Callable[[NamedNetworks], object]


@dataclass(frozen=True)
class Costs:
    """What parts of training take, seconds."""

    step: float
    """One step with its batch."""
    epoch: float
    """Validation after an epoch, and its share of sample pictures."""


def fit_to_time(
    session: Session, position: Position, take_step: StepFunction, feed: Feed, reports: tuple[Report, Report]
) -> Session:
    """The session with a length for the stage, which is printed; as it was where none is asked for or it has one.

    reports: what validates and what draws the sample pictures. The primary process decides, and writes the plan to the
    run folder; all processes call it at the same time.
    """
    began = time.monotonic() if position.index else session.began
    if session.config.train.minutes == 0 or position.index in session.planned:
        return session
    costs = measure(session, position, take_step, feed, reports)
    spent = time.monotonic() - began
    seconds = seconds_of(session, position.index)
    total = broadcast_from_primary(steps_in(session, position.index, seconds - spent, costs))
    planned = replace(session, planned={**session.planned, position.index: int(position.state.step) + total})
    if is_primary():
        write_plan(session.folder, planned.planned)
        length = planned.length(position.index)
        print(
            f"planned: {length.total} steps, {length.total / length.per_epoch:.3g} epochs, at {costs.step:.3g} s a "
            f"step in {seconds / 60:.3g} min, of which {spent:.0f} s went to compiling and timing"
        )
    return planned


def seconds_of(session: Session, index: int) -> float:
    """The share of train.minutes that is a stage's: as its epochs are to those of all stages."""
    epochs = [stage.epochs or session.config.train.epochs for stage in session.config.stages]
    return 60.0 * session.config.train.minutes * epochs[index] / sum(epochs)


def steps_in(session: Session, index: int, seconds: float, costs: Costs) -> int:
    """Steps of a stage that fit some seconds, validation and sample pictures counted; at least one."""
    per_epoch = session.length(index).per_epoch
    return max(1, int((1.0 - RESERVE) * seconds / (costs.step + costs.epoch / per_epoch)))


def measure(
    session: Session, position: Position, take_step: StepFunction, feed: Feed, reports: tuple[Report, Report]
) -> Costs:
    """Compile what the stage needs and time it, on a copy of its state."""
    state, total = jax.tree.map(jnp.copy, position.state), session.length(position.index).total
    first, seconds = int(position.state.step), []
    for n in range(STEPS + 1):
        began = time.monotonic()
        state, metrics = take_step(state, *feed.batch(first + n), total)
        fetch(metrics)
        seconds.append(time.monotonic() - began)
    networks = on_one_device(position.stage.networks(state), session.mesh)
    validation, pictures = (_timed_twice(report, networks) for report in reports)
    every = session.config.train.sample_every
    return Costs(median(seconds[1:]), validation + (pictures / every if every else 0.0))


def _timed_twice(report: Report, networks: Any) -> float:
    """Seconds that a report takes once it is compiled."""
    report(networks)
    began = time.monotonic()
    report(networks)
    return time.monotonic() - began
