"""What the stages of a run have in common, and how far training has come in them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from export.edge.model.bundles import Training
from jax_impl.config.tree import Config
from jax_impl.data.batches import steps_per_epoch
from jax_impl.data.loader import LazyPairs, Pairs
from jax_impl.model.network import count
from jax_impl.training.interfaces import Callback, Stage
from jax_impl.training.overhead import Overhead
from jax_impl.training.stages.latents import stage_of


@dataclass(frozen=True)
class Session:
    """A run in one process: the same for all of its stages."""

    config: Config
    folder: Path
    pairs: Pairs | LazyPairs
    held_out: Pairs
    mesh: Mesh
    callbacks: tuple[Callback, ...] = ()
    """Called by the primary process."""
    overhead: Overhead = field(default_factory=Overhead)
    began: float = field(default_factory=time.monotonic)
    """When this process began to train; monotonic: a clock that is set during the run changes nothing."""
    planned: Mapping[int, int] = field(default_factory=dict)
    """Steps of stages whose length was found from the time that steps take, by their index."""

    def seconds(self) -> float:
        """Time since this process began to train."""
        return time.monotonic() - self.began

    def stage(self, index: int) -> Stage:
        """The stage of that index."""
        return stage_of(self.config, index)

    def length(self, index: int) -> Length:
        """How long the stage of that index is."""
        return length_of(self.config, len(self.pairs.names), index, self.planned)


@dataclass(frozen=True)
class Length:
    """How long a stage is."""

    per_epoch: int
    """Steps of an epoch."""
    total: int
    """All steps."""

    @property
    def epochs(self) -> int:
        """Its epochs, the last of which may be cut short."""
        return -(-self.total // self.per_epoch)


def length_of(config: Config, pairs: int, index: int, planned: Mapping[int, int]) -> Length:
    """How long the stage of that index is, with so many training pairs; `planned`: see `Session`."""
    per_epoch = steps_per_epoch(pairs, config.data.repeats, config.train.batch_size)
    total = per_epoch * (config.stages[index].epochs or config.train.epochs)
    return Length(per_epoch, planned.get(index, total) if config.train.minutes else total)


def how_far(config: Config, pairs: int, index: int, step: int, planned: Mapping[int, int]) -> Training:
    """How far a run with so many training pairs has come after `step` steps of the stage of that index."""
    totals = [length_of(config, pairs, i, planned).total for i in range(len(config.stages))]
    steps = sum(totals[:index]) + step
    return Training(steps, sum(totals), steps * config.train.batch_size)


@dataclass(frozen=True)
class Position:
    """A stage of a run, by its index from 0, and its state, divided over the mesh."""

    index: int
    stage: Stage
    state: Any


def key_of(config: Config, index: int) -> jax.Array:
    """The key that all randomness of a stage follows from."""
    key = jax.random.key(config.train.seed)
    return jax.random.fold_in(key, index) if index else key


def count_parameters(position: Position) -> int:
    """The scalars in the weights of the networks that a stage publishes."""
    return sum(count(params) for params, _ in position.stage.networks(position.state).values())


def outline(config: Config, index: int) -> Any:
    """The state of a stage, as shapes and dtypes alone: all that restoring needs, without computing weights."""
    networks, state = {}, None
    for i in range(index + 1):
        stage = stage_of(config, i)
        state = jax.eval_shape(stage.init, networks, key_of(config, i))
        networks = jax.eval_shape(stage.networks, state)
    return state
