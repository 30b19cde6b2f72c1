"""The weights that a run publishes, and where its training stands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

from export.edge.errors import UserError
from jax_impl.data.loader import open_pairs
from jax_impl.data.sources.registry import open_source
from jax_impl.model.network import Tree
from jax_impl.runs.bundles import open_bundle
from jax_impl.runs.folder import TrainedRun, open_run
from jax_impl.training.checkpoint import NEWEST
from jax_impl.training.feed import open_feed
from jax_impl.training.optim import learning_rate
from jax_impl.training.report import EPOCH_LOSS, METRICS, read_log
from jax_impl.training.step import Problem, make_statistics_step

STATISTICS_BATCHES = 50
"""Training batches over which BatchNorm's statistics are re-estimated."""


def open_weights(run: Path | None, weights: Path | None, checkpoint: str = NEWEST) -> tuple[Problem, Tree, Tree]:
    """What sampling takes, from the one that is named: (problem, params, stats).

    Raises UserError for both or neither, and for what cannot be opened.
    """
    if weights is not None and run is None:
        if checkpoint != NEWEST:
            raise UserError(f"--checkpoint {checkpoint} chooses among those of --run; name one, or leave it out")
        return open_bundle(weights)
    if run is None or weights is not None:
        named = "neither --run nor --weights" if run is None else "both --run and --weights"
        raise UserError(f"{named} are given; name a run folder or a bundle")
    trained = open_run(run, checkpoint)
    return trained.problem, *final_weights(trained)


def choose_average(trained: TrainedRun, decay: float | None) -> TrainedRun:
    """The run with another of its averages, or with none for decay 0, as the one that is published.

    Raises UserError for a decay that the run keeps no average of.
    """
    state, optim = trained.state, trained.config.optim
    averages = {optim.ema_decay: state.ema, **dict(zip(optim.more_ema_decays, state.more_ema, strict=True)), 0.0: {}}
    if decay is None:
        return trained
    if decay not in averages:
        kept = ", ".join(f"{kept:g}" for kept in averages)
        raise UserError(f"--ema-decay {decay:g} is none that the run kept; choose one of {kept} (0: the raw weights)")
    # What is written says which average it is.
    config = replace(trained.config, optim=replace(optim, ema_decay=decay, more_ema_decays=()))
    return replace(trained, config=config, state=replace(state, ema=averages[decay], more_ema=()))


def final_weights(trained: TrainedRun) -> tuple[Tree, Tree]:
    """Params and statistics to publish: the average of the weights, with statistics that belong to it."""
    state = trained.state
    if not state.ema:
        return state.params, state.stats
    if not state.stats:
        return state.ema, state.stats
    return state.ema, estimate_statistics(trained, state.ema)


def estimate_statistics(trained: TrainedRun, params: Tree) -> Tree:
    """BatchNorm statistics of `params`: the mean over batches of the run's own training data.

    Running statistics follow the raw weights and do not fit averaged ones.
    """
    config = trained.config
    try:
        pairs = open_pairs(open_source(config.data), config.data)
    except UserError as error:
        raise UserError(
            f"{error} (BatchNorm's statistics for the averaged weights are estimated from the training data: work in "
            "the folder that training was started in, or put the data back)"
        ) from None
    step = make_statistics_step(trained.problem)
    mean, stats = None, trained.state.stats
    with open_feed(pairs, config) as feed:
        for n in range(STATISTICS_BATCHES):
            new, weight = step(params, stats, *feed.batch(n), jax.random.key(n)), 1.0 / (n + 1)
            mean = new if mean is None else jax.tree.map(lambda m, b, w=weight: m + w * (b - m), mean, new)
    return mean


def adam_state(opt_state: optax.OptState) -> optax.ScaleByAdamState:
    """AdamW's own state within the optimiser's."""
    states = jax.tree.leaves(opt_state, is_leaf=lambda state: isinstance(state, optax.ScaleByAdamState))
    (adam,) = (state for state in states if isinstance(state, optax.ScaleByAdamState))
    return adam


def training_facts(run: Path, trained: TrainedRun) -> dict[str, object]:
    """Where a run stands, in the words of `torch_ref.optimizer`.

    Raises UserError where the run bundles averaged weights, to which AdamW's moments do
    not belong, and where its log does not say which epoch the checkpoint is of.
    """
    optim, step, taken = trained.config.optim, int(trained.state.step), int(trained.state.taken)
    if trained.state.ema:
        raise UserError(
            f"--optimizer: run {run} bundles averaged weights (optim.ema_decay {optim.ema_decay}), and AdamW's moments "
            "belong to the raw ones; leave out --optimizer, or train with --optim.ema-decay 0"
        )
    epoch, loss = progress(run, step)
    schedule = "cosine" if optim.schedule == "cosine" else "warm-up" if taken < optim.warmup_steps else "step"
    rate = optim.learning_rate
    for _ in range(int(epoch) // optim.decay_epochs):
        rate *= optim.decay_factor
    if schedule != "step":
        per_epoch = round(step / epoch) if step else 1
        rate = float(jnp.asarray(learning_rate(optim, per_epoch, trained.config.train.epochs)(taken)))
    return {
        "step": taken,
        "epoch": int(epoch),
        "loss": loss,
        "learning_rate": rate,
        "initial_learning_rate": optim.learning_rate,
        "weight_decay": optim.weight_decay,
        "betas": [0.9, 0.999],  # no setting changes these and eps
        "eps": 1e-8,
        "schedule": schedule,
        "decay_epochs": optim.decay_epochs,
        "decay_factor": optim.decay_factor,
    }


def progress(run: Path, step: int) -> tuple[float, float | None]:
    """Epochs done after `step` steps, and the mean loss of the last whole one, from the run's log."""
    if step == 0:
        return 0.0, None
    epoch, loss = None, None
    for record in read_log(run):
        if record["step"] <= step:
            epoch = record.get("epoch") if record["step"] == step else None
            loss = record.get(EPOCH_LOSS, loss)
    if not epoch:
        raise UserError(f"run {run} has no line for step {step} in its {METRICS}; bundle it without --optimizer")
    return epoch, loss
