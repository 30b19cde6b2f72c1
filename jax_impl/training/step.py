"""One training step and one validation pass, pure and jitted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from jax_impl.config.tree import Config
from jax_impl.data.augment import augment
from jax_impl.data.crops import random_crops
from jax_impl.diffusion.guidance import hide
from jax_impl.diffusion.losses.registry import Losses, LossSample
from jax_impl.diffusion.process import Noised, Process, Published
from jax_impl.model.blocks import BATCH_NORM_MOMENTUM
from jax_impl.model.codec import Codec, codec_of
from jax_impl.model.network import Network, Tree
from jax_impl.shapes import Array, Cond, Features, Float, Int, RandomKey, Timesteps
from jax_impl.training.guard import check_step
from jax_impl.training.interfaces import Batch, Metrics, StepFunction
from jax_impl.training.mesh import divided, gathered, replicated, rows, single_device
from jax_impl.training.state import TrainState


class Problem(NamedTuple):
    """What the loss depends on besides weights and data; all of it fixed during a run."""

    network: Network
    config: Config
    process: Process
    losses: Losses

    @staticmethod
    def of(network: Network, config: Config, published: Published | None = None) -> Problem:
        """With the process and the losses of the settings; `published`: what a bundle says of the process."""
        return Problem(network, config, config.diffusion.create(published), Losses(config.losses))

    @property
    def codec(self) -> Codec:
        """The codec of the settings, around the network."""
        return codec_of(self.config.codec)


DROPOUT_STREAM = 1000
"""Folded into a step's key for dropout: far from the keys that `draw_batch` splits off, which are numbered from 0."""
LOSS_STREAM = 1
"""Folded into the key of dropout for what is random in a loss term."""
NO_AUX: Mapping[str, Any] = {}


def to_unit(pictures: jax.Array | np.ndarray) -> Float[Array, "*shape"]:
    """uint8 0…255 to [-1, 1], float32, or float64 where jax_enable_x64 is on."""
    return (jnp.asarray(pictures, jnp.result_type(float)) - 127.5) / 127.5


def diffusion_loss(
    problem: Problem,
    params: Tree,
    stats: Tree,
    cond: Cond,
    x0: Features,
    t: Timesteps,
    eps: Features,
    *,
    dropout_key: RandomKey | None = None,
) -> tuple[Float[Array, ""], tuple[Metrics, Tree]]:
    """Loss of one training batch, its parts and the new BatchNorm statistics.

    cond, x0, eps: (batch, height, width, 3), cond as the network takes it; t: integers
    (batch,). `dropout_key` is needed by networks with dropout, and by losses with chance.
    """
    noised = problem.process.corrupt(x0, cond[..., : x0.shape[-1]], t, eps)
    output, stats = problem.network.apply(params, stats, noised.x_t, cond, t, train=True, key=dropout_key)
    key = jax.random.key(0) if dropout_key is None else jax.random.fold_in(dropout_key, LOSS_STREAM)
    _, parts = loss_of(problem, cond, x0, noised, output, key)
    return parts["loss"], (parts, stats)


def loss_of(
    problem: Problem,
    cond: Cond,
    x0: Features,
    noised: Noised,
    output: Features,
    key: RandomKey,
    aux: Mapping[str, Any] = NO_AUX,
) -> tuple[jax.Array, Metrics]:
    """The loss of what the network says of a batch, (batch,) or scalar, and its parts, as `Losses` gives them.

    Training and validation both call it. `aux`: what a stage gives to loss terms besides the batch.
    """
    process = problem.process
    x0_hat = process.to_x0(output, noised.x_t, noised.t)
    sample = LossSample(
        cond, x0, noised.x_t, noised.t, noised.noise, output, process.target(x0, noised), x0_hat, noised.levels
    )
    return problem.losses(sample, key, aux)


def make_train_step(
    problem: Problem, optimizer: optax.GradientTransformation, schedule: optax.Schedule, mesh: Mesh | None = None
) -> StepFunction:
    """A jitted `train_step(state, pairs, indices)`; the state given is consumed.

    pairs: the whole training set, on every device; indices: int32 (batch,), the pairs of
    this step; or the batch itself, and None. All randomness follows from the state's key and
    step. On a mesh the state is divided as `mesh.state_sharding` says, and indices, or the
    batch, by rows; metrics are on every device. Without one, everything is on one device.
    """
    config, mesh = problem.config, mesh or single_device()

    def train_step(state: TrainState, pairs: Batch, indices: jax.Array | None) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        drawn = draw_batch(config, key, pairs, indices)
        drawn = jax.lax.with_sharding_constraint(drawn, rows(mesh))
        dropout_key = jax.random.fold_in(key, DROPOUT_STREAM)
        state, metrics = update(problem, optimizer, schedule, state, *drawn, dropout_key=dropout_key, mesh=mesh)
        return divided(mesh, state), jax.lax.with_sharding_constraint(metrics, replicated(mesh))

    return jax.jit(train_step, donate_argnums=0)


def update(
    problem: Problem,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    state: TrainState,
    cond: Cond,
    x0: Features,
    t: Timesteps,
    eps: Features,
    *,
    dropout_key: RandomKey | None = None,
    mesh: Mesh | None = None,
) -> tuple[TrainState, Metrics]:
    """The state after one step on a batch already drawn, and the step's metrics; pure, and not jitted.

    cond, x0, eps: (batch, height, width, 3); t: integers (batch,). `mesh` is where the state
    is divided, if it is; then it is to be called inside `jax.jit`. The metrics are those
    of the loss, the gradient's global norm before clipping, the learning rate, and the
    marks of `guard.check_step`: a step that would do harm is skipped, which leaves all but step
    and guard as they are, provided that the optimizer is one of `make_optimizer`.
    """

    params = state.params if mesh is None else gathered(mesh, state.params)
    grads, metrics, stats = mean_gradient(problem, params, state.stats, cond, x0, t, eps, dropout_key=dropout_key)
    if mesh is not None:
        grads = divided(mesh, grads)
    metrics |= {"grad_norm": optax.tree.norm(grads), "learning_rate": jnp.asarray(schedule(state.taken))}
    optim = problem.config.optim
    guard, marks = check_step(optim, state, metrics, stats)
    good = guard.in_a_row == 0

    # Chosen part by part, each from what was chosen before: XLA then works in place, as it
    # would not with one choice at the end, and a GPU asks the host nothing, as for a branch.
    def choose(new: Tree, old: Tree) -> Tree:
        return optax.tree.where(good, new, old)

    move = optax.with_extra_args_support(optimizer).update
    updates, opt_state = move(grads, state.opt_state, state.params, good=good)
    params = choose(optax.apply_updates(state.params, updates), state.params)
    averages = [(state.ema, optim.ema_decay)] if state.ema else []
    averages += zip(state.more_ema, optim.more_ema_decays, strict=True)
    moved = [choose(update_ema(average, params, state.step, decay), average) for average, decay in averages]
    ema, more = (moved[0], moved[1:]) if state.ema else (state.ema, moved)
    stats = choose(stats, state.stats)
    return TrainState(state.step + 1, params, stats, ema, tuple(more), opt_state, state.key, guard), metrics | marks


def mean_gradient(
    problem: Problem,
    params: Tree,
    stats: Tree,
    cond: Cond,
    x0: Features,
    t: Timesteps,
    eps: Features,
    *,
    dropout_key: RandomKey | None = None,
) -> tuple[Tree, Metrics, Tree]:
    """Gradient of the loss on a batch, the loss and its terms, and the new BatchNorm statistics.

    With optim.accumulate = n the batch passes in n parts of equal size, and what is returned is
    the mean over them: with GroupNorm the same but for rounding and for what dropout drops, while
    BatchNorm normalises each part by itself and moves its running statistics n times.
    """
    parts = problem.config.optim.accumulate

    def part_of(stats: Tree, drawn: tuple[jax.Array, ...], key: jax.Array | None) -> tuple[Tree, tuple[Tree, Metrics]]:
        def loss_of(params: Tree) -> tuple[jax.Array, tuple[Metrics, Tree]]:
            return diffusion_loss(problem, params, stats, *drawn, dropout_key=key)

        (_, (metrics, stats_after)), grads = jax.value_and_grad(loss_of, has_aux=True)(params)
        return stats_after, (grads, metrics)

    drawn = (cond, x0, t, eps)
    if parts == 1:
        stats, (grads, metrics) = part_of(stats, drawn, dropout_key)
        return grads, metrics, stats

    def split(rows: jax.Array) -> jax.Array:
        # Part k has the rows k, k + n, …: those of every device stay there.
        return rows.reshape(-1, parts, *rows.shape[1:]).swapaxes(0, 1)

    def add(carry: tuple[Tree, Tree], part: tuple[jax.Array, tuple[jax.Array, ...]]) -> tuple[tuple[Tree, Tree], None]:
        stats, total = carry
        number, drawn = part
        key = None if dropout_key is None else jax.random.fold_in(dropout_key, number)
        stats, found = part_of(stats, drawn, key)
        return (stats, jax.tree.map(jnp.add, total, found)), None

    split_drawn = jax.tree.map(split, drawn)
    first = jax.tree.map(lambda rows: rows[0], split_drawn)
    _, shapes = jax.eval_shape(part_of, stats, first, dropout_key)
    nothing = jax.tree.map(lambda found: jnp.zeros(found.shape, found.dtype), shapes)
    # In a loop XLA's convolutions on a CPU take ten times as long as in a row.
    in_a_row = parts if jax.default_backend() == "cpu" else 1
    (stats, total), _ = jax.lax.scan(add, (stats, nothing), (jnp.arange(parts), split_drawn), unroll=in_a_row)
    grads, metrics = jax.tree.map(lambda found: found / parts, total)
    return grads, metrics, stats


def draw_batch(
    config: Config, key: jax.Array, pairs: Batch, indices: jax.Array | None
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Everything random about a step: (cond, x0, t, eps) of the pairs at `indices`, or of all, augmented, float32.

    cond and x0 are states of the codec.
    With data.crop_size they are crops of that side, and for a network with coordinates
    cond then has 5 channels. With probability diffusion.cond_dropout a guiding picture is
    hidden: it becomes middle grey.
    """
    augment_key, t_key, eps_key = jax.random.split(key, 3)
    cond, x0 = (to_unit(side if indices is None else side[indices]) for side in pairs)
    count = cond.shape[:1]
    cond, x0 = augment(augment_key, cond, x0, config.data.augment)
    # Keys of their own for what a run may do without, so that its other draws stay the same.
    if config.data.crop_size > 0:
        cond, x0 = random_crops(jax.random.fold_in(key, 4), cond, x0, config.data.crop_size)
        cond = cond[..., : config.model.cond_channels]
    codec = codec_of(config.codec)
    cond, x0 = codec.encode(cond), codec.encode(x0)
    t = jax.random.randint(t_key, count, 0, config.diffusion.timesteps)
    if (dropout := config.diffusion.cond_dropout) > 0.0:
        hidden = jax.random.bernoulli(jax.random.fold_in(key, 3), dropout, (*count, 1, 1, 1))
        cond = jnp.where(hidden, hide(cond), cond)
    return cond, x0, t, jax.random.normal(eps_key, x0.shape, x0.dtype)


def make_statistics_step(problem: Problem) -> Callable[[Tree, Tree, Batch, jax.Array | None, jax.Array], Tree]:
    """A jitted (params, stats, pairs, indices, key) -> BatchNorm statistics of that batch alone.

    The running update new = old + m (batch - old) is undone: batch = old + (new - old) / m.
    """

    @jax.jit
    def statistics(params: Tree, stats: Tree, pairs: Batch, indices: jax.Array | None, key: jax.Array) -> Tree:
        cond, x0, t, eps = draw_batch(problem.config, key, pairs, indices)
        _, (_, new) = diffusion_loss(problem, params, stats, cond, x0, t, eps)
        return jax.tree.map(lambda old, new: old + (new - old) / BATCH_NORM_MOMENTUM, stats, new)

    return statistics


def update_ema(ema: Tree, params: Tree, step: Int[Array, ""], decay: float) -> Tree:
    """Move the average towards the weights.

    The decay is at most (1 + n) / (10 + n) after n steps, so that the first average
    forgets the initial weights.
    """
    steps = step.astype(float)
    share = 1.0 - jnp.minimum(decay, (1.0 + steps) / (10.0 + steps))
    return jax.tree.map(lambda old, new: old + share.astype(new.dtype) * (new - old), ema, params)


def make_validation_loss(problem: Problem) -> Callable[[Tree, Tree, Batch], float]:
    """A function (params, stats, pairs) -> mean loss, in evaluation mode, on noise that never changes.

    Each pair meets four timesteps spread evenly over 0…T-1 and offset from pair to
    pair, and loss terms one key, so that values from different epochs are comparable. Pictures are whole, as they
    are when pictures are drawn, also where training sees crops.
    """
    timesteps = problem.process.timesteps
    draws, chunk = 4, problem.config.train.batch_size

    @jax.jit
    def losses(params: Tree, stats: Tree, pairs: Batch, t: jax.Array, keys: jax.Array) -> jax.Array:
        cond, x0 = (problem.codec.encode(to_unit(side)) for side in pairs)
        eps = jax.vmap(lambda key: jax.random.normal(key, x0.shape[1:], x0.dtype))(keys)
        noised = problem.process.corrupt(x0, cond, t, eps)
        output, _ = problem.network.apply(params, stats, noised.x_t, cond, t)
        value, _ = loss_of(problem, cond, x0, noised, output, jax.random.key(0))
        return jnp.broadcast_to(value, t.shape)

    def validation_loss(params: Tree, stats: Tree, pairs: Batch) -> float:
        count = len(pairs.x0)
        collected = []
        for draw in range(draws):
            for start in range(0, count, chunk):
                rows = np.arange(start, min(start + chunk, count))
                places = (rows * draws + draw + 0.5) / (count * draws)
                t = jnp.asarray(places * timesteps, jnp.int32)
                keys = jax.vmap(jax.random.key)(jnp.asarray(rows * draws + draw))
                part = Batch(jnp.asarray(pairs.cond[rows]), jnp.asarray(pairs.x0[rows]))
                collected.append(losses(params, stats, part, t, keys))
        return float(np.mean(np.concatenate(jax.device_get(collected)), dtype=np.float64))

    return validation_loss


def fetch(metrics: dict[str, Any]) -> dict[str, float]:
    """Metrics as Python floats; waits for the device."""
    return {name: float(value) for name, value in jax.device_get(metrics).items()}
