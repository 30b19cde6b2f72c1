"""One step of the stage `realism`, pure and jitted: the denoiser's, then the discriminator's on the same pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from jax_impl.diffusion.losses.adversarial import (
    DISCRIMINATOR,
    AdversarialConfig,
    Scores,
    Shown,
    changed,
    discriminator_loss,
    draw_changes,
)
from jax_impl.diffusion.losses.anchor import MEAN, PROGRESS
from jax_impl.diffusion.losses.registry import REALISM
from jax_impl.diffusion.one_pass import OnePass
from jax_impl.diffusion.process import Noised
from jax_impl.model import discriminator
from jax_impl.model.network import Tree
from jax_impl.training.batches import DROPOUT_STREAM, Drawn, draw_batch
from jax_impl.training.frozen import jitted
from jax_impl.training.interfaces import Batch, Metrics, StepFunction
from jax_impl.training.mesh import divided, gathered, replicated, rows
from jax_impl.training.objective import LOSS_STREAM, Problem, loss_of
from jax_impl.training.step import advance, mean_over_parts

DISCRIMINATOR_STREAM = 1001
"""Folded into a step's key for the discriminator's augmentation, see `batches.DROPOUT_STREAM`."""


def make_realism_step(
    problem: Problem,
    optimizer_of: Callable[[jax.Array], tuple[optax.GradientTransformation, optax.Schedule]],
    adversary: AdversarialConfig | None,
    opponent: optax.GradientTransformationExtraArgs | None,
    *,
    mesh: Mesh,
) -> StepFunction:
    """A jitted `step(state, pairs, indices, total)` on a `RealismState`, as `step.make_train_step` describes it.

    optimizer_of: the denoiser's, with its learning rate, for a stage of so many steps; opponent: the discriminator's. A
    step in which anything of either network is not finite is skipped for both.
    """
    config = problem.config

    def step(
        problem: Problem, state: Any, pairs: Batch, indices: jax.Array | None, total: jax.Array
    ) -> tuple[Any, Metrics]:
        move, schedule = optimizer_of(total)
        network = state.network
        key = jax.random.fold_in(network.key, network.step)
        drawn = jax.lax.with_sharding_constraint(draw_batch(config, key, pairs, indices), rows(mesh))
        weights = gathered(mesh, state.discriminator)
        progress = network.step.astype(drawn.x0.dtype) / jnp.asarray(total, drawn.x0.dtype)
        aux = {
            PROGRESS: progress,
            MEAN: gathered(mesh, state.mean),
            DISCRIMINATOR: None if adversary is None else scores_of(problem, adversary, weights),
        }
        stats, (grads, slope, metrics, watched) = mean_over_parts(
            partial(both_gradients, problem, adversary, (gathered(mesh, network.params), weights), aux),
            config.optim.accumulate, network.stats, drawn, key,
        )  # fmt: skip
        grads, slope = divided(mesh, grads), divided(mesh, slope)
        metrics |= {"grad_norm": optax.tree.norm(grads), "learning_rate": jnp.asarray(schedule(network.taken))}
        if adversary is not None:
            metrics |= {**watched, "discriminator_norm": optax.tree.norm(slope)}
            watched = (metrics["discriminator"], metrics["discriminator_norm"])
        network, metrics = advance(config.optim, move, network, grads, metrics, stats, watched)
        state = replace(state, network=network)
        if opponent is not None:
            state = play(state, slope, opponent)
        return divided(mesh, state), jax.lax.with_sharding_constraint(metrics, replicated(mesh))

    return jitted(problem, step, mesh, consumes=True)


def both_gradients(
    problem: Problem,
    adversary: AdversarialConfig | None,
    players: tuple[Tree, Tree],
    aux: Mapping[str, Any],
    stats: Tree,
    drawn: Drawn,
    key: jax.Array,
) -> tuple[Tree, tuple[Tree, Tree, Metrics, Metrics]]:
    """BatchNorm statistics after a batch, and the gradients of both networks with the parts of their losses.

    `players`: weights of the denoiser and of the discriminator; empty is what belongs to one that is not there.
    """
    params, weights = players
    grads, metrics, stats, shown = gradient(problem, params, stats, drawn, key, aux)
    slope, parts = {}, {}
    if adversary is not None:
        changes_key = jax.random.fold_in(key, DISCRIMINATOR_STREAM)
        slope, parts = discriminator_gradient(problem, adversary, weights, shown, changes_key)
    return stats, (grads, slope, metrics, parts)


def gradient(
    problem: Problem, params: Tree, stats: Tree, drawn: Drawn, key: jax.Array, given: Mapping[str, Any]
) -> tuple[Tree, Metrics, Tree, Shown]:
    """Gradient of the loss on a batch, its parts, the new BatchNorm statistics, and what the discriminator may see.

    given: `aux` of the terms, with the mean network's weights in place of its pictures.
    """
    cond, x0, t, eps, _ = drawn
    # One realism for the whole batch: texture compares the patches of all its pictures together.
    noised = problem.process.corrupt(x0, cond[..., : x0.shape[-1]], jnp.broadcast_to(t[0], t.shape), eps)
    dropout_key = jax.random.fold_in(key, DROPOUT_STREAM)
    assert isinstance(problem.process, OnePass)
    aux = {**given, MEAN: mean_pictures(problem, given[MEAN], cond, noised), REALISM: problem.process.realism(noised.t)}

    def loss(params: Tree) -> tuple[jax.Array, tuple[Metrics, Tree, jax.Array]]:
        output, after = problem.network.apply(params, stats, noised.x_t, cond, noised.t, train=True, key=dropout_key)
        _, parts = loss_of(problem, cond, x0, noised, output, jax.random.fold_in(dropout_key, LOSS_STREAM), aux)
        return parts["loss"], (parts, after, problem.process.to_x0(output, noised.x_t, noised.t))

    (_, (metrics, stats, x0_hat)), grads = jax.value_and_grad(loss, has_aux=True)(params)
    return grads, metrics, stats, Shown(cond[..., : x0.shape[-1]], jax.lax.stop_gradient(x0_hat), x0)


def mean_pictures(problem: Problem, mean: tuple[Tree, Tree], cond: jax.Array, noised: Noised) -> jax.Array | None:
    """What the network that the stage began with says of a start without noise at T-1; None where it is not kept."""
    params, stats = mean
    if not params:
        return None
    x_t, t = jnp.zeros_like(noised.x_t), jnp.full_like(noised.t, problem.process.timesteps - 1)
    output, _ = problem.network.apply(params, stats, x_t, cond, t)
    return jax.lax.stop_gradient(problem.process.to_x0(output, x_t, t))


def scores_of(problem: Problem, adversary: AdversarialConfig, weights: Tree) -> Scores:
    """The discriminator with these weights."""
    return partial(discriminator.scores, problem.config.codec.channels, adversary.width, weights)


def discriminator_gradient(
    problem: Problem, adversary: AdversarialConfig, weights: Tree, shown: Shown, key: jax.Array
) -> tuple[Tree, Metrics]:
    """Gradient of the discriminator's loss on a batch, and its parts."""
    if adversary.augment:
        shown = changed(shown, draw_changes(key, shown.real.shape, shown.real.dtype))

    def loss(weights: Tree) -> tuple[jax.Array, Metrics]:
        scores = scores_of(problem, adversary, weights)
        return discriminator_loss(scores, shown, adversary.gamma, adversary.penalty_every)

    (_, parts), grads = jax.value_and_grad(loss, has_aux=True)(weights)
    return grads, parts


def play(state: Any, slope: Tree, opponent: optax.GradientTransformationExtraArgs) -> Any:
    """The state with the discriminator moved by its gradient, unless the step of its network was skipped."""
    good = state.guard.in_a_row == 0
    updates, opt = opponent.update(slope, state.discriminator_opt, state.discriminator, good=good)
    moved = optax.apply_updates(state.discriminator, updates)
    return replace(state, discriminator=optax.tree.where(good, moved, state.discriminator), discriminator_opt=opt)
