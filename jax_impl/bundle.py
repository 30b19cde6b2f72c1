"""Leave JAX: write a run's weights, configuration and schedule as one safetensors file.

`python -m jax_impl.bundle --run runs/x --output model.safetensors`; with `--optimizer
optimizer.safetensors` AdamW's state too, for going on in the original script.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

from export.edge.disk.files import check_output_file
from export.edge.errors import UserError, run
from jax_impl.config.command import parse
from jax_impl.config.data import DataConfig
from jax_impl.data.loader import open_pairs
from jax_impl.model.network import Tree
from jax_impl.runs.bundles import write_bundle, write_optimizer
from jax_impl.runs.folder import TrainedRun, open_run
from jax_impl.training.checkpoint import NEWEST
from jax_impl.training.feed import open_feed
from jax_impl.training.optim import learning_rate
from jax_impl.training.report import EPOCH_LOSS, METRICS, read_log
from jax_impl.training.step import make_statistics_step

STATISTICS_BATCHES = 50
"""Training batches over which BatchNorm's statistics are re-estimated."""


@dataclass(frozen=True)
class BundleArgs:
    """Write a run's weights, configuration and schedule as one safetensors file."""

    run: Path
    """Run folder, as given to training."""
    output: Path
    """File to write, such as model.safetensors."""
    checkpoint: str = NEWEST
    """Which of the run's checkpoints: `newest`, `best` (lowest validation loss) or the number of a step."""
    ema_decay: float | None = None
    """Which of the run's averages to write, by its decay, or 0 for the raw weights (default: optim.ema_decay)."""
    optimizer: Path | None = None
    """Also write AdamW's moments and the state of training, to go on with in the original script."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and write the bundle."""
    args = parse(BundleArgs, argv, "python -m jax_impl.bundle")
    for name, path in (("--output", args.output), ("--optimizer", args.optimizer)):
        if path is not None:
            check_output_file(path, name)
            if path.suffix != ".safetensors":
                raise UserError(f"{name} {path} must end in .safetensors, the format that is written")
    if args.optimizer is not None and args.optimizer.resolve() == args.output.resolve():
        raise UserError(f"--optimizer {args.optimizer} is the file of --output; name another")
    trained = choose_average(open_run(args.run, args.checkpoint), args.ema_decay)
    facts = training_facts(args.run, trained) if args.optimizer is not None else {}
    params, stats = final_weights(trained)
    digest = write_bundle(args.output, params, stats, trained.problem.process.published(), trained.config)
    kind = f"averaged ({trained.config.optim.ema_decay})" if trained.state.ema else "raw"
    print(f"{args.output}: {kind} weights after step {int(trained.state.step)}, digest {digest[:16]}")
    if args.optimizer is not None:
        adam = adam_state(trained.state.opt_state)
        write_optimizer(args.optimizer, adam.mu, adam.nu, {**facts, "weights_digest": digest})
        print(f"{args.optimizer}: AdamW's moments after {facts['epoch']} whole epochs")


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
    data: DataConfig = config.data
    try:
        pairs = open_pairs(data)
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


def cli() -> None:
    """Entry point of the console script."""
    run(main)


if __name__ == "__main__":
    cli()
