"""What a run would take, from its first few steps: parameters, memory and time."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, cast

import jax

from jax_impl.config.tree import Config
from jax_impl.data.batches import steps_per_epoch
from jax_impl.data.loader import LazyPairs, Pairs
from jax_impl.diffusion.losses.registry import remarks_on_parts
from jax_impl.model.network import count
from jax_impl.training.feed import open_feed
from jax_impl.training.mesh import describe as describe_mesh
from jax_impl.training.mesh import make_mesh, put_state
from jax_impl.training.optim import learning_rate, make_optimizer
from jax_impl.training.state import create
from jax_impl.training.step import Problem, make_train_step

STEPS = 5
"""Steps that are timed."""


@dataclass(frozen=True)
class Estimate:
    """What a run would take; sizes in bytes, times in seconds."""

    parameters: int
    state: int
    """Weights, averages, statistics and the optimiser's moments, on each device."""
    data: int
    """Pictures that lie on each device."""
    work: int
    """What a step needs beside both, as compiled."""
    compile_seconds: float
    step_seconds: float
    """Of one step with its batch, in the mean over STEPS."""
    steps: int
    """Of the whole run."""
    devices: str
    """What it would run on, in words."""
    remarks: list[str]
    """On loss terms that accumulation or several devices change."""


def estimate(config: Config, pairs: Pairs | LazyPairs) -> Estimate:
    """Compile the train step and take a few steps from a fresh state; nothing is written."""
    settings, mesh = config.train, make_mesh(config)
    per_epoch = steps_per_epoch(len(pairs.names), config.data.repeats, settings.batch_size)
    schedule = learning_rate(config.optim, per_epoch, settings.epochs)
    optimizer = make_optimizer(config.optim, schedule)
    network, state = create(config, optimizer)
    state = put_state(state, mesh)
    parameters, bytes_of_state = count(state.params), _bytes(state)
    train_step = make_train_step(Problem.of(network, config), optimizer, schedule, mesh)
    with open_feed(pairs, config, mesh) as feed:
        batch = feed.batch(0)
        began = time.perf_counter()
        compiled = cast(Any, train_step).lower(state, *batch).compile()
        compile_seconds = time.perf_counter() - began
        memory = compiled.memory_analysis()
        state, metrics = compiled(state, *batch)
        jax.block_until_ready(metrics)
        began = time.perf_counter()
        for step in range(1, STEPS + 1):
            state, metrics = compiled(state, *feed.batch(step))
        jax.block_until_ready(metrics)
        step_seconds = (time.perf_counter() - began) / STEPS
    return Estimate(
        parameters=parameters,
        state=bytes_of_state,
        data=_bytes(batch),
        work=memory.temp_size_in_bytes if memory is not None else 0,
        compile_seconds=compile_seconds,
        step_seconds=step_seconds,
        steps=per_epoch * settings.epochs,
        devices=describe_mesh(mesh),
        remarks=remarks_on_parts(config.losses, config.optim.accumulate, mesh.size),
    )


def describe(found: Estimate, config: Config) -> list[str]:
    """The estimate in words, a line each."""
    total = found.state + found.data + found.work
    rate = config.train.batch_size / found.step_seconds
    return [
        f"parameters   {found.parameters:,}",
        f"memory       {_mib(total)} a device, on {found.devices}: state {_mib(found.state)}, pictures "
        f"{_mib(found.data)}, a step's work {_mib(found.work)}",
        f"a step       {found.step_seconds * 1000:.1f} ms, {rate:.1f} pairs/s, after {found.compile_seconds:.1f} s of "
        "compilation",
        f"the run      {found.steps:,} steps, {_duration(found.steps * found.step_seconds)}, beside validation, sample "
        "pictures and checkpoints",
        *found.remarks,
    ]


def _bytes(tree: object) -> int:
    """On one device: on it lies a part of what is divided."""
    return sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"


def _duration(seconds: float) -> str:
    """Hours and minutes, or seconds under two minutes."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
