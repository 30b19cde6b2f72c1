"""What a run would take, from its first few steps: parameters, memory and time."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import jax

from jax_impl.config.tree import Config
from jax_impl.diffusion.losses.registry import remarks_on_parts
from jax_impl.training.feed import open_feed
from jax_impl.training.lines import spoken
from jax_impl.training.mesh import describe_devices, on_one_device
from jax_impl.training.planning import Costs, seconds_of, steps_in
from jax_impl.training.session import Position, Session, count_parameters
from jax_impl.training.starting import enter

STEPS = 5
"""Steps that are timed."""


@dataclass(frozen=True)
class CostEstimate:
    """What a run would take; sizes in bytes, times in seconds."""

    parameters: int
    state: int
    """Weights, averages, statistics and the optimiser's moments, on each device."""
    data: int
    """Pictures that lie on each device."""
    work: int
    """What a step needs besides both, as compiled."""
    compile_seconds: float
    step_seconds: float
    """Of one step with its batch, in the mean over STEPS."""
    steps: int
    """Of the whole run, or as many as fit `train.minutes`."""
    devices: str
    """What it would run on, in words."""
    remarks: list[str]
    """On loss terms that accumulation or several devices change."""


def describe_run(session: Session) -> Iterator[str]:
    """What the run would take, in words, a line each: of every stage, from a few steps; nothing is written."""
    stages, networks = session.config.stages, {}
    for index, config in enumerate(stages):
        position = enter(session, index, networks)
        found, state = estimate(session, position)
        if len(stages) > 1:
            yield f"stage {index}      {config.stage}"
        yield from describe_cost(found, session.config)
        networks = on_one_device(position.stage.networks(state), session.mesh)


def estimate(session: Session, position: Position) -> tuple[CostEstimate, Any]:
    """Compile the step of a stage and take a few; returns the state after them too."""
    length, state, mesh = session.length(position.index), position.state, session.mesh
    parameters, bytes_of_state = count_parameters(position), _bytes(state)
    take_step = position.stage.make_step(length.per_epoch, mesh)
    with open_feed(session.pairs, session.config, mesh) as feed:
        batch, total = feed.batch(0), length.total
        began = time.perf_counter()
        compiled = cast(Any, take_step).lower(state, *batch, total).compile()
        compile_seconds = time.perf_counter() - began
        memory = compiled.memory_analysis()
        state, metrics = compiled(state, *batch, total)
        jax.block_until_ready(metrics)
        began = time.perf_counter()
        for step in range(1, STEPS + 1):
            state, metrics = compiled(state, *feed.batch(step), total)
        jax.block_until_ready(metrics)
        step_seconds = (time.perf_counter() - began) / STEPS
    seconds = seconds_of(session, position.index)
    fitting = steps_in(session, position.index, seconds, Costs(step_seconds, epoch=0.0))
    terms = session.config.stages[position.index].terms(session.config)
    found = CostEstimate(
        parameters=parameters,
        state=bytes_of_state,
        data=_bytes(batch),
        work=memory.temp_size_in_bytes if memory is not None else 0,
        compile_seconds=compile_seconds,
        step_seconds=step_seconds,
        steps=fitting if seconds else length.total,
        devices=describe_devices(mesh),
        remarks=remarks_on_parts(terms, session.config.optim.accumulate, mesh.size),
    )
    return found, state


def describe_cost(found: CostEstimate, config: Config) -> list[str]:
    """The estimate in words, a line each."""
    total = found.state + found.data + found.work
    rate = config.train.batch_size / found.step_seconds
    return [
        f"parameters   {found.parameters:,}",
        f"memory       {_mib(total)} a device, on {found.devices}: state {_mib(found.state)}, pictures "
        f"{_mib(found.data)}, a step's work {_mib(found.work)}",
        f"a step       {found.step_seconds * 1000:.1f} ms, {rate:.1f} pairs/s, after {found.compile_seconds:.1f} s of "
        "compilation",
        f"the run      {found.steps:,} steps, {spoken(found.steps * found.step_seconds)}, not counting validation, "
        "sample pictures and checkpoints",
        *found.remarks,
    ]


def _bytes(tree: object) -> int:
    """On one device: on it lies a part of what is divided."""
    return sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
