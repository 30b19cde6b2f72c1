"""Everything that training carries from step to step, as one tree."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import jax
import jax.numpy as jnp
import optax

from jax_impl.config.tree import Config
from jax_impl.model.network import Network, Tree, build
from jax_impl.model.network import outline as outline_network
from jax_impl.training.interfaces import Guard, StageState

State = TypeVar("State", bound=StageState)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """Weights, statistics, optimiser and randomness after `step` steps."""

    step: jax.Array
    """Steps since training began, skipped ones included, int32 scalar."""
    params: Tree
    stats: Tree
    """BatchNorm's running statistics; empty for networks without it."""
    ema: Tree
    """Moving average of params; empty when it is switched off."""
    more_ema: tuple[Tree, ...]
    """Averages by `optim.more_ema_decays`, in that order."""
    opt_state: optax.OptState
    key: jax.Array
    """Root of all randomness; step n draws from fold_in(key, n), so it never changes."""
    guard: Guard

    @property
    def taken(self) -> jax.Array:
        """Steps that were not skipped, int32 scalar: those that the optimiser counts."""
        return self.step - self.guard.skipped


class WithNetwork:
    """The state of a stage that carries more than its network: step and guard are those of the network."""

    network: TrainState

    @property
    def step(self) -> jax.Array:
        """Steps since the stage began, skipped ones included, int32 scalar."""
        return self.network.step

    @property
    def guard(self) -> Guard:
        """Counts of skipped steps."""
        return self.network.guard


def create(config: Config, optimizer: optax.GradientTransformation) -> tuple[Network, TrainState]:
    """A fresh state whose weights and randomness follow from `config.train.seed` alone."""
    init_key, key = jax.random.split(jax.random.key(config.train.seed))
    network, params, stats = build(config, init_key)
    return network, with_params(params, stats, config, optimizer, key)


def outline(config: Config, optimizer: optax.GradientTransformation) -> tuple[Network, TrainState]:
    """The network, and a state of shapes and dtypes alone: all that restoring needs, without drawing weights."""
    network, params, stats = outline_network(config)
    start = partial(with_params, config=config, optimizer=optimizer)
    return network, jax.eval_shape(start, params, stats, key=jax.random.key(config.train.seed))


def with_params(
    params: Tree, stats: Tree, config: Config, optimizer: optax.GradientTransformation, key: jax.Array
) -> TrainState:
    """A state at step 0 that starts from the given weights."""
    # Copies: the step donates its state, and two leaves must not share a buffer.
    ema = jax.tree.map(jnp.copy, params) if config.optim.ema_decay > 0 else {}
    more = tuple(jax.tree.map(jnp.copy, params) for _ in config.optim.more_ema_decays)
    step, non_finite, spikes, in_a_row = (jnp.zeros((), jnp.int32) for _ in range(4))
    guard = Guard(non_finite, spikes, in_a_row, jnp.zeros((), jnp.float32))
    return TrainState(step, params, stats, ema, more, optimizer.init(params), key, guard)


def sampling_weights(state: TrainState) -> Tree:
    """The weights to draw pictures with while training.

    The average, if there is one; but under BatchNorm the running statistics belong to
    the raw weights, which are then used until the bundle re-estimates them.
    """
    return state.ema if state.ema and not state.stats else state.params


def to_arrays(state: StageState) -> dict[str, jax.Array]:
    """The state as a flat dict of plain arrays, names such as ".params['stem']['kernel']"."""
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    return {jax.tree_util.keystr(path): _plain(leaf) for path, leaf in leaves}


def from_arrays(template: State, arrays: dict[str, jax.Array]) -> State:
    """The inverse of `to_arrays`: a state shaped like `template`, which has the same names, and may be an outline."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(template)
    restored = []
    for path, leaf in leaves:
        array = arrays[jax.tree_util.keystr(path)]
        restored.append(jax.random.wrap_key_data(array) if _is_key(leaf) else array)
    return jax.tree.unflatten(structure, restored)


def _is_key(leaf: jax.Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: jax.Array) -> jax.Array:
    return jax.random.key_data(leaf) if _is_key(leaf) else jnp.asarray(leaf)
