"""The weights that a run publishes, and where its training stands."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import jax
import optax

from export.edge.errors import UserError
from export.edge.model.bundles import Training
from export.edge.model.layout import DENOISER
from export.edge.model.likeness import Likeness
from jax_impl.data.loader import LazyPairs, Pairs, lazy_pairs, open_pairs
from jax_impl.data.sources.registry import open_source
from jax_impl.model.network import Tree
from jax_impl.runs.bundles import open_bundle
from jax_impl.runs.folder import DATA, TrainedRun, open_run, trained_names
from jax_impl.runs.likeness import likeness_of
from jax_impl.runs.plan import read_plan
from jax_impl.training.checkpoint import NEWEST
from jax_impl.training.interfaces import NamedNetworks
from jax_impl.training.objective import Problem
from jax_impl.training.optim import learning_rate
from jax_impl.training.report import EPOCH_LOSS, METRICS_LOG, read_log, stage_of
from jax_impl.training.session import Length, how_far, length_of
from jax_impl.training.stages.latents import InLatentsState
from jax_impl.training.state import TrainState


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
    if decay is None:
        return trained
    outer, optim = trained.state, trained.config.optim
    in_latents = isinstance(outer, InLatentsState)
    state = _adam_trained(replace(trained, state=outer.own) if in_latents else trained, "--ema-decay")
    averages = {optim.ema_decay: state.ema, **dict(zip(optim.more_ema_decays, state.more_ema, strict=True)), 0.0: {}}
    if decay not in averages:
        kept = ", ".join(f"{kept:g}" for kept in averages)
        raise UserError(f"--ema-decay {decay:g} is none that the run kept; choose one of {kept} (0: the raw weights)")
    # What is written says which average it is.
    config = replace(trained.config, optim=replace(optim, ema_decay=decay, more_ema_decays=()))
    chosen = replace(state, ema=averages[decay], more_ema=())
    return replace(trained, config=config, state=replace(outer, own=chosen) if in_latents else chosen)


def published(trained: TrainedRun) -> NamedNetworks:
    """The networks that the stage of the checkpoint publishes, by name.

    Raises UserError for a checkpoint of a stage that trains no denoiser.
    """
    own = trained.config.stages[trained.index]
    if own.learns_codec:
        raise UserError(
            f"the checkpoint is of stage {trained.index}, {own.stage}, which trains no denoiser; go on training with "
            "--resume"
        )
    return trained.stage.publish(trained.state, lambda: _training_pairs(trained))


def describe_weights(trained: TrainedRun) -> str:
    """What is published, in words."""
    state, stages = getattr(trained.state, "own", trained.state), trained.config.stages
    where = f" of stage {trained.index}, {stages[trained.index].stage}" if len(stages) > 1 else ""
    kind = ""
    if isinstance(state, TrainState):
        kind = f"averaged ({trained.config.optim.ema_decay}) " if state.ema else "raw "
    return f"{kind}weights after step {int(state.step)}{where}"


def state_of_training(run: Path, trained: TrainedRun) -> Training | None:
    """How far the training of a checkpoint had come; None where the run folder does not say what it is trained on."""
    names = trained_names(run)
    if names is None:
        return None
    return how_far(trained.config, len(names), trained.index, int(trained.state.step), read_plan(run))


def likeness_of_inputs(run: Path, trained: TrainedRun) -> Likeness | None:
    """What the training inputs look like; None, with a note, where they are not there any more or are others."""
    try:
        pairs = lazy_pairs(open_source(trained.config.data), trained.config.data, "train")
    except UserError as error:
        return _unknown(error)
    names = trained_names(run)
    # A bad pair was replaced by another, whose name is then there twice.
    if names is not None and not (len(names) == len(pairs.names) and set(names) <= set(pairs.names)):
        return _unknown(f"data.path {trained.config.data.path} has other pairs than those of training")
    return likeness_of(pairs)


def _unknown(reason: object) -> None:
    print(f"note: the bundle cannot say which photos are unlike the training inputs: {reason}", file=sys.stderr)


def final_weights(trained: TrainedRun) -> tuple[Tree, Tree]:
    """Params and statistics of the denoiser that is published."""
    return published(trained)[DENOISER]


def _training_pairs(trained: TrainedRun) -> Pairs | LazyPairs:
    try:
        return open_pairs(open_source(trained.config.data), trained.config.data)
    except UserError as error:
        raise UserError(
            f"{error} (BatchNorm's statistics for the averaged weights are estimated from the training data: work in "
            "the folder that training was started in, or put the data back)"
        ) from None


def _adam_trained(trained: TrainedRun, flag: str) -> TrainState:
    """The state of a stage that trains one network with AdamW; UserError, for a flag that needs that, of any other."""
    if not isinstance(trained.state, TrainState):
        name = trained.config.stages[trained.index].stage + " in a codec's states" * trained.config.codec.learned
        raise UserError(f"{flag} goes with the state of the stage denoising, not with that of {name}; leave it out")
    if (optimizer := trained.config.optim.optimizer) != "adamw":
        raise UserError(
            f"{flag} goes with the state of AdamW, and optim.optimizer is {optimizer}; leave it out, or train with "
            "--optim.optimizer adamw"
        )
    return trained.state


def adam_state(opt_state: optax.OptState) -> optax.ScaleByAdamState:
    """AdamW's own state within the optimiser's."""
    states = jax.tree.leaves(opt_state, is_leaf=lambda state: isinstance(state, optax.ScaleByAdamState))
    (adam,) = (state for state in states if isinstance(state, optax.ScaleByAdamState))
    return adam


def training_facts(run: Path, trained: TrainedRun) -> dict[str, object]:
    """Where a run stands, in the words of `torch_ref.optimizer`.

    Raises UserError where the run bundles averaged weights, to which AdamW's moments do
    not belong, where its log does not say which epoch the checkpoint is of, and where the
    rate depends on how long the run is, but its folder does not say on how many pairs it trains.
    """
    state = _adam_trained(trained, "--optimizer")
    optim, step, taken = trained.config.optim, int(state.step), int(state.taken)
    if state.ema:
        raise UserError(
            f"--optimizer: run {run} bundles averaged weights (optim.ema_decay {optim.ema_decay}), and AdamW's moments "
            "belong to the raw ones; leave out --optimizer, or train with --optim.ema-decay 0"
        )
    epoch, loss = progress(run, step, trained.index)
    schedule = "cosine" if optim.schedule == "cosine" else "warm-up" if taken < optim.warmup_steps else "step"
    rate = optim.learning_rate
    for _ in range(int(epoch) // optim.decay_epochs):
        rate *= optim.decay_factor
    if schedule != "step":
        length = _length(run, trained)
        rate = float(learning_rate(optim, length.per_epoch, length.total)(taken))
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


def _length(run: Path, trained: TrainedRun) -> Length:
    names = trained_names(run)
    if names is None:
        raise UserError(
            f"run {run} has no {DATA} that says what it was trained on; restore it from a copy, or bundle it without "
            "--optimizer"
        )
    return length_of(trained.config, len(names), trained.index, read_plan(run))


def progress(run: Path, step: int, stage: int = 0) -> tuple[float, float | None]:
    """Epochs done after `step` steps, and the mean loss of the last whole one, from the run's log."""
    if step == 0:
        return 0.0, None
    epoch, loss = None, None
    for record in read_log(run):
        if stage_of(record) == stage and record["step"] <= step:
            epoch = record.get("epoch") if record["step"] == step else None
            loss = record.get(EPOCH_LOSS, loss)
    if not epoch:
        raise UserError(f"run {run} has no line for step {step} in its {METRICS_LOG}; bundle it without --optimizer")
    return epoch, loss
