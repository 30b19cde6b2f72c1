"""One training step, pure and jitted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from jax_impl.config.tree import OptimConfig
from jax_impl.diffusion.losses.registry import Losses
from jax_impl.model.blocks import BATCH_NORM_MOMENTUM
from jax_impl.model.network import Tree
from jax_impl.shapes import Array, Int
from jax_impl.training.batches import DROPOUT_STREAM, Drawn, draw_batch
from jax_impl.training.frozen import jitted
from jax_impl.training.guard import check_step
from jax_impl.training.interfaces import Batch, Metrics, StepFunction
from jax_impl.training.mesh import divided, gathered, replicated, rows, single_device
from jax_impl.training.objective import Problem, diffusion_loss, picture_of
from jax_impl.training.optim import learning_rate, make_optimizer
from jax_impl.training.state import TrainState


def make_train_step(problem: Problem, per_epoch: int, mesh: Mesh | None = None) -> StepFunction:
    """A jitted `train_step(state, pairs, indices, total)`; the state given is consumed.

    pairs: the whole training set, on every device; indices: int32 (batch,), the pairs of
    this step; or the batch itself, and None; total: int32 scalar, steps of the stage, which the
    learning rate goes by with per_epoch, steps of an epoch. All randomness follows from the state's key and
    step. On a mesh the state is divided as `mesh.state_sharding` says, and indices, or the
    batch, by rows; metrics are on every device. Without one, everything is on one device.
    """
    mesh = mesh or single_device()

    def train_step(
        problem: Problem, state: TrainState, pairs: Batch, indices: jax.Array | None, total: jax.Array
    ) -> tuple[TrainState, Metrics]:
        state, metrics = one_step(problem, per_epoch, mesh, state, (pairs, indices, total))
        return divided(mesh, state), metrics

    return jitted(problem, train_step, mesh, consumes=True)


def one_step(
    problem: Problem,
    per_epoch: int,
    mesh: Mesh,
    state: TrainState,
    given: tuple[Batch, jax.Array | None, jax.Array],
    source_of: Callable[[Drawn], jax.Array] | None = None,
) -> tuple[TrainState, Metrics]:
    """The step of `make_train_step`, not jitted: `given` are its pairs, indices and total.

    `source_of`: from a batch to the pictures that the process starts from, where these are not cond.
    """
    pairs, indices, total = given
    schedule = learning_rate(problem.config.optim, per_epoch, total)
    optimizer = make_optimizer(problem.config.optim, schedule)
    key = jax.random.fold_in(state.key, state.step)
    drawn = draw_batch(problem.config, key, pairs, indices)
    drawn = jax.lax.with_sharding_constraint(drawn, rows(mesh))
    if source_of is not None:
        drawn = drawn._replace(source=source_of(drawn))
    dropout_key = jax.random.fold_in(key, DROPOUT_STREAM)
    state, metrics = update(problem, optimizer, schedule, state, drawn, dropout_key=dropout_key, mesh=mesh)
    return state, jax.lax.with_sharding_constraint(metrics, replicated(mesh))


def update(
    problem: Problem,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    state: TrainState,
    drawn: Drawn,
    *,
    dropout_key: jax.Array | None = None,
    mesh: Mesh | None = None,
) -> tuple[TrainState, Metrics]:
    """The state after one step on a batch already drawn, and the step's metrics; pure, and not jitted.

    `mesh` is where the state is divided, if it is; then it is to be called inside `jax.jit`. The metrics are those
    of the loss, the gradient's global norm before clipping, the learning rate, and the
    marks of `guard.check_step`: a step that would do harm is skipped, which leaves all but step
    and guard as they are, provided that the optimizer is one of `make_optimizer`.
    """
    params = state.params if mesh is None else gathered(mesh, state.params)
    grads, metrics, stats = mean_gradient(problem, params, state.stats, drawn, dropout_key)
    if mesh is not None:
        grads = divided(mesh, grads)
    metrics |= {"grad_norm": optax.tree.norm(grads), "learning_rate": jnp.asarray(schedule(state.taken))}
    return advance(problem.config.optim, optimizer, state, grads, metrics, stats)


def advance(
    optim: OptimConfig,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    grads: Tree,
    metrics: Metrics,
    stats: Tree,
    watched: Tree = (),
) -> tuple[TrainState, Metrics]:
    """The state moved by a gradient, unless that would do harm, and the metrics with the marks of `guard.check_step`.

    `stats`: BatchNorm's after the step. `watched`: what else has to be finite for the step to be taken.
    """
    guard, marks = check_step(optim, state, metrics, (stats, watched))
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
    problem: Problem, params: Tree, stats: Tree, drawn: Drawn, dropout_key: jax.Array | None = None
) -> tuple[Tree, Metrics, Tree]:
    """Gradient of the loss on a batch, the loss and its terms, and the new BatchNorm statistics.

    With optim.accumulate = n the batch passes in n parts of equal size, and what is returned is
    the mean over them: with GroupNorm the same except for rounding and for what dropout drops, while
    BatchNorm normalises each part by itself and moves its running statistics n times.
    """

    def part_of(stats: Tree, drawn: Drawn, key: jax.Array | None) -> tuple[Tree, tuple[Tree, Metrics]]:
        def loss_of(params: Tree) -> tuple[jax.Array, tuple[Metrics, Tree]]:
            return diffusion_loss(problem, params, stats, drawn, key)

        (_, (metrics, stats_after)), grads = jax.value_and_grad(loss_of, has_aux=True)(params)
        return stats_after, (grads, metrics)

    stats, (grads, metrics) = mean_over_parts(part_of, problem.config.optim.accumulate, stats, drawn, dropout_key)
    return grads, metrics, stats


def mean_over_parts(
    part_of: Callable[[Tree, Drawn, Any], tuple[Tree, Any]], parts: int, stats: Tree, drawn: Drawn, key: Any
) -> tuple[Tree, Any]:
    """The batch in so many parts of equal size through `part_of(stats, drawn, key) -> (stats, found)`.

    `stats` goes from part to part; of `found`, a tree of arrays, the mean is returned. Each part gets a key of its own,
    where there is one; a whole batch gets `key` itself.
    """
    if parts == 1:
        return part_of(stats, drawn, key)

    def split(rows: jax.Array) -> jax.Array:
        # Part k has the rows k, k + n, …: those of every device stay there.
        return rows.reshape(-1, parts, *rows.shape[1:]).swapaxes(0, 1)

    def add(carry: tuple[Tree, Tree], part: tuple[jax.Array, Drawn]) -> tuple[tuple[Tree, Tree], None]:
        stats, total = carry
        number, drawn = part
        own = None if key is None else jax.random.fold_in(key, number)
        stats, found = part_of(stats, drawn, own)
        return (stats, jax.tree.map(jnp.add, total, found)), None

    split_drawn = jax.tree.map(split, drawn)
    first = jax.tree.map(lambda rows: rows[0], split_drawn)
    _, shapes = jax.eval_shape(part_of, stats, first, key)
    nothing = jax.tree.map(lambda found: jnp.zeros(found.shape, found.dtype), shapes)
    # In a loop XLA's convolutions on a CPU take ten times as long as in a row.
    in_a_row = parts if jax.default_backend() == "cpu" else 1
    (stats, total), _ = jax.lax.scan(add, (stats, nothing), (jnp.arange(parts), split_drawn), unroll=in_a_row)
    return stats, jax.tree.map(lambda found: found / parts, total)


def make_statistics_step(problem: Problem) -> Callable[..., Tree]:
    """A jitted (params, stats, pairs, indices, key, mean=None) -> BatchNorm statistics of that batch alone.

    `mean`: weights and statistics of the network whose picture the process starts from, where it is not cond.

    The running update new = old + m (batch - old) is undone: batch = old + (new - old) / m.
    """
    # They do not depend on the loss.
    problem = problem._replace(losses=Losses(()))

    @jax.jit
    def statistics(
        params: Tree,
        stats: Tree,
        pairs: Batch,
        indices: jax.Array | None,
        key: jax.Array,
        mean: tuple[Tree, Tree] | None = None,
    ) -> Tree:
        drawn = draw_batch(problem.config, key, pairs, indices)
        if mean is not None:
            drawn = drawn._replace(source=picture_of(problem, mean, drawn.cond, drawn.x0))
        _, (_, new) = diffusion_loss(problem, params, stats, drawn)
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
