"""A stage of a user: it keeps the denoiser and learns one number, with a state and a step of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from export.edge.pictures.arrays import to_uint8
from jax_impl.config.tree import Config
from jax_impl.training.batches import to_unit
from jax_impl.training.guard import check_step
from jax_impl.training.interfaces import Batch, Guard, Metrics, NamedNetworks
from jax_impl.training.stages.registry import STAGES, StageConfig


@dataclass(frozen=True)
class GainStageConfig(StageConfig):
    """`x0` as a multiple of `cond`."""

    stage: str = "gain"
    rate: float = 0.1

    def create(self, config: Any) -> GainStage:
        """The stage."""
        return GainStage(self, config)


STAGES.add("gain", GainStageConfig)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class GainState:
    """What the stage carries from step to step."""

    step: jax.Array
    guard: Guard
    denoiser: Any
    gain: jax.Array


@dataclass(frozen=True)
class GainStage:
    """Publishes the denoiser as it came, and a network named `gain`."""

    own: GainStageConfig
    config: Config

    def init(self, before: NamedNetworks, key: jax.Array) -> GainState:
        zero = jnp.zeros((), jnp.int32)
        return GainState(zero, Guard(zero, zero, zero, jnp.zeros(())), before["denoiser"], jax.random.uniform(key))

    def make_step(self, per_epoch: int, mesh: Mesh) -> Callable:
        @jax.jit
        def step(
            state: GainState, pairs: Batch, indices: jax.Array | None, total: jax.Array
        ) -> tuple[GainState, Metrics]:
            rate = self.own.rate / total
            chosen = pairs if indices is None else Batch(pairs.cond[indices], pairs.x0[indices])
            loss, grad = jax.value_and_grad(_loss)(state.gain, chosen)
            metrics = {"loss": loss, "grad_norm": jnp.abs(grad), "learning_rate": jnp.asarray(rate)}
            guard, marks = check_step(self.config.optim, state, metrics, {})
            return GainState(state.step + 1, guard, state.denoiser, state.gain - rate * grad), metrics | marks

        return step

    def networks(self, state: GainState) -> NamedNetworks:
        return {"denoiser": state.denoiser, "gain": ({"scale": state.gain}, {})}

    def make_validation(self) -> Callable[[NamedNetworks, Batch], float]:
        return lambda networks, pairs: float(_loss(networks["gain"][0]["scale"], pairs))

    def make_pictures(self, cond: jax.Array | np.ndarray) -> Callable[[NamedNetworks], np.ndarray]:
        return lambda networks: to_uint8(np.asarray(networks["gain"][0]["scale"] * to_unit(cond)))

    def publish(self, state: GainState, open_pairs: Callable) -> NamedNetworks:
        return self.networks(state)


def _loss(gain: jax.Array, pairs: Batch) -> jax.Array:
    return jnp.mean(jnp.square(gain * to_unit(pairs.cond) - to_unit(pairs.x0)))
