"""Stages of a run whose codec is learned: each carries the codec's weights on, which it does not change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from export.edge.model.codec import CODEC
from jax_impl.config.tree import Config
from jax_impl.data.loader import LazyPairs, Pairs
from jax_impl.model.learned_codec import LearnedCodecConfig, Tree
from jax_impl.training.interfaces import Batch, GaugedStage, Guard, Metrics, NamedNetworks, Stage, StepFunction
from jax_impl.training.mesh import divided, gathered
from jax_impl.training.stages.registry import StageConfig


def stage_of(config: Config, index: int) -> Stage:
    """The stage of that index of a run, which works in the states of the run's codec."""
    own = config.stages[index]
    if not isinstance(config.codec, LearnedCodecConfig) or own.learns_codec:
        return own.create(config)
    made = InLatents(own, config, config.codec)
    return GaugedInLatents(own, config, config.codec) if isinstance(made.plain, GaugedStage) else made


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class InLatentsState:
    """What the stage carries from step to step."""

    own: Any
    """That of the stage inside."""
    codec: Tree
    """The network CODEC, which never changes."""

    @property
    def step(self) -> jax.Array:
        """Steps since the stage began, skipped ones included, int32 scalar."""
        return self.own.step

    @property
    def guard(self) -> Guard:
        """Counts of skipped steps."""
        return self.own.guard


class InLatents:
    """Any `Stage`, in the states of a codec that an earlier stage or bundle has trained.

    The stage inside is made for settings whose codec has its weights, so it knows of no codec that is learned.
    """

    def __init__(self, own: StageConfig, config: Config, codec: LearnedCodecConfig) -> None:
        self._own, self._config, self._codec = own, config, codec
        self.plain = own.create(config)

    def init(self, before: NamedNetworks, key: jax.Array) -> InLatentsState:
        """That of the stage inside, with the codec of `before`; without one, only the shapes mean anything."""
        networks = {name: weights for name, weights in before.items() if name != CODEC}
        codec = before[CODEC][0] if CODEC in before else self._codec.fresh(key)
        # The state is consumed by a step: no array may be in it twice.
        return InLatentsState(self.plain.init(networks, key), jax.tree.map(jnp.copy, codec))

    def make_step(self, per_epoch: int, mesh: Mesh) -> StepFunction:
        """The step of the stage inside, in one program with the encoder."""

        def step(
            state: InLatentsState, pairs: Batch, indices: jax.Array | None, total: jax.Array
        ) -> tuple[InLatentsState, Metrics]:
            inner = self._with(gathered(mesh, state.codec)).make_step(per_epoch, mesh)
            own, metrics = inner(state.own, pairs, indices, total)
            return divided(mesh, replace(state, own=own)), metrics

        return jax.jit(step, donate_argnums=0)

    def networks(self, state: InLatentsState) -> NamedNetworks:
        """Those of the stage inside, and the codec."""
        return {**self.plain.networks(state.own), CODEC: (state.codec, {})}

    def make_validation(self) -> Callable[[NamedNetworks, Batch], float]:
        """That of the stage inside, in states."""
        made = self._once(lambda stage: stage.make_validation())
        return lambda networks, pairs: made(networks)(networks, pairs)

    def make_pictures(self, cond: jax.Array | np.ndarray) -> Callable[[NamedNetworks], np.ndarray]:
        """Those of the stage inside, decoded."""
        made = self._once(lambda stage: stage.make_pictures(cond))
        return lambda networks: made(networks)(networks)

    def publish(self, state: InLatentsState, open_pairs: Callable[[], Pairs | LazyPairs]) -> NamedNetworks:
        """What the stage inside leaves, and the codec."""
        return {**self._with(state.codec).publish(state.own, open_pairs), CODEC: (state.codec, {})}

    def _with(self, weights: Tree) -> Stage:
        """The stage inside, for settings whose codec has these weights."""
        return self._own.create(replace(self._config, codec=self._codec.filled(weights)))

    def _once(self, make: Callable[[Stage], Any]) -> Callable[[NamedNetworks], Any]:
        """What `make` makes of the stage inside, made where the codec's weights are first there: they never change."""
        made: list[Any] = []

        def get(networks: NamedNetworks) -> Any:
            if not made:
                made.append(make(self._with(networks[CODEC][0])))
            return made[0]

        return get


def _gauge_of(stage: Stage) -> Any:
    assert isinstance(stage, GaugedStage)
    return stage.make_gauge()


class GaugedInLatents(InLatents):
    """The same of a `GaugedStage`."""

    def gauged(self, state: InLatentsState) -> Any:
        """What the stage inside looks at."""
        return self._gauged.gauged(state.own)

    def make_gauge(self) -> Callable[[Any, NamedNetworks, Batch, Batch], Mapping[str, float]]:
        """That of the stage inside, in states."""
        made = self._once(_gauge_of)

        def gauge(of: Any, networks: NamedNetworks, train: Batch, held_out: Batch) -> Mapping[str, float]:
            return made(networks)(of, networks, train, held_out)

        return gauge

    def warning(self, figures: Mapping[str, float]) -> str | None:
        """That of the stage inside."""
        return self._gauged.warning(figures)

    @property
    def _gauged(self) -> GaugedStage:
        assert isinstance(self.plain, GaugedStage)
        return self.plain
