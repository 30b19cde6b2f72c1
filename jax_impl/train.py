"""Train a paired diffusion model: `python -m jax_impl.train [PRESET] --data.path DIR --output-dir runs/x`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

from export.edge.errors import UserError, run
from jax_impl.cli import TrainArgs, parse
from jax_impl.config import Config
from jax_impl.data.loader import Pairs, Source, decode, open_held_out_pairs, open_pairs, remarks, steps_per_epoch
from jax_impl.diffusion.schedule import Levels, alphas_cumprod
from jax_impl.model.network import Network, count
from jax_impl.run_folder import (
    CONFIG,
    check_data,
    check_resume,
    read_config,
    warn_of_damage,
    write_config,
    write_data,
)
from jax_impl.training.checkpoint import list_checkpoints, restore_newest, save
from jax_impl.training.dry_run import describe, estimate
from jax_impl.training.feed import open_feed
from jax_impl.training.interrupt import StopSignal
from jax_impl.training.optim import learning_rate, make_optimizer
from jax_impl.training.progress import Progress
from jax_impl.training.report import Sampler, plot_losses
from jax_impl.training.state import TrainState, create, outline, sampling_weights, with_params
from jax_impl.training.step import Batch, Problem, make_train_step, make_validation_loss
from jax_impl.weights import warm_start

SHOWN_PAIRS = 4
"""Held-out pairs in a sample picture."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and train."""
    args = parse(sys.argv[1:] if argv is None else argv)
    config = prepare(args)
    for remark in remarks(config.data):
        print(remark)
    pairs, held_out = open_pairs(config.data), open_held_out_pairs(config.data)
    where = "streamed" if isinstance(pairs, Source) else "in memory"
    print(
        f"{len(pairs.names)} training pairs {where}, {len(held_out.names)} held out, "
        f"{config.data.size} × {config.data.size}"
    )
    if args.dry_run:
        print("\n".join(describe(estimate(config, pairs), config)))
        return
    number = train(config, args.output_dir, pairs, held_out, resume=args.resume, init_from=args.init_from)
    if number:
        sys.exit(128 + number)


def prepare(args: TrainArgs) -> Config:
    """Check that the run folder and the settings go together, before anything is read or written."""
    config, folder = args.config(), args.output_dir
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output-dir {folder} is a file; name a folder")
    if args.resume:
        if args.init_from is not None:
            raise UserError("--resume and --init-from exclude each other; a resumed run has its own weights")
        check_resume(read_config(folder), config)
    elif list_checkpoints(folder) and not (folder / CONFIG).exists():
        raise UserError(f"--output-dir {folder} holds checkpoints of an unknown run; remove it, or name another folder")
    elif (folder / CONFIG).exists():
        raise UserError(f"--output-dir {folder} holds a run already; add --resume to go on, or name another folder")
    return config


def train(
    config: Config,
    folder: Path,
    pairs: Pairs | Source,
    held_out: Pairs,
    *,
    resume: bool = False,
    init_from: Path | None = None,
) -> int:
    """Train from the state that the settings imply to the last epoch, leaving checkpoints and pictures in `folder`.

    Returns 0, or the number of the signal that ended it early. Raises UserError when a
    resumed run meets other data or a broken checkpoint, and when the loss is not finite.
    """
    settings = config.train
    per_epoch = steps_per_epoch(len(pairs.names), config.data.repeats, settings.batch_size)
    total = per_epoch * settings.epochs
    schedule = learning_rate(config.optim, per_epoch, settings.epochs)
    optimizer = make_optimizer(config.optim, schedule)
    if resume:
        check_data(folder, pairs, held_out)
        network, state = newest_state(folder, config, optimizer)
    else:
        network, state = create(config, optimizer)
    if init_from is not None:
        state = with_params(*warm_start(init_from, config, state.params, state.stats), config, optimizer, state.key)
    first = int(state.step)
    print(f"{count(state.params):,} parameters, {settings.epochs} epochs of {per_epoch} steps, on {jax.devices()[0]}")

    levels = alphas_cumprod(config.diffusion)
    problem = Problem(network, config, Levels.of(levels))
    train_step = make_train_step(problem, optimizer, schedule)
    validation_loss = make_validation_loss(problem)
    feed, held = open_feed(pairs, config), Batch(jnp.asarray(held_out.cond), jnp.asarray(held_out.x0))
    sampler = Sampler(problem, levels, first_pairs(held_out if held_out.names else pairs), settings.sample_steps)

    folder.mkdir(parents=True, exist_ok=True)
    if init_from is not None:
        # Before there is a config to resume from: the run folder alone must say where the run began.
        save(folder, state, settings.keep_checkpoints)
    write_data(folder, pairs, held_out)
    write_config(folder, config)
    progress = Progress(folder, config, first, per_epoch)
    with StopSignal() as stop, feed:
        for step in range(first + 1, total + 1):
            state, metrics = train_step(state, *feed.batch(step - 1))
            progress.step(step, metrics)
            last = step == total
            if step % per_epoch == 0:
                progress.flush()
                epoch, weights = step // per_epoch, sampling_weights(state)
                progress.epoch(step, validation_loss(weights, state.stats, held) if held_out.names else None)
                if settings.sample_every and (last or epoch % settings.sample_every == 0):
                    sampler.save(folder, epoch, weights, state.stats)
                plot_losses(folder)
                if last or epoch % settings.checkpoint_every == 0:
                    save(folder, state, settings.keep_checkpoints)
            if not last and (stop.requested or progress.out_of_time()):
                progress.flush()
                save(folder, state, settings.keep_checkpoints)
                plot_losses(folder)
                progress.close()
                reason = "stopped" if stop.requested else "time is up"
                print(f"{reason} after step {step} of {total}; go on with --resume --output-dir {folder}")
                return stop.number
    progress.close()
    print(f"run folder: {folder}")
    return 0


def first_pairs(pairs: Pairs | Source) -> Batch:
    """The first few pairs of a set, to show."""
    if isinstance(pairs, Source):
        pairs = decode(replace(pairs, names=pairs.names[:SHOWN_PAIRS]))
    return Batch(pairs.cond[:SHOWN_PAIRS], pairs.x0[:SHOWN_PAIRS])


def newest_state(folder: Path, config: Config, optimizer: optax.GradientTransformation) -> tuple[Network, TrainState]:
    """The network and the state to resume from; a fresh one when the run was stopped before its first checkpoint."""
    if not list_checkpoints(folder):
        print("no checkpoint yet: starting from the first step")
        return create(config, optimizer)
    network, template = outline(config, optimizer)
    state, found, problems = restore_newest(folder, template)
    warn_of_damage(problems)
    print(f"resuming after step {found.step}")
    return network, state


def cli() -> None:
    """Entry point of the console script."""
    run(main)


if __name__ == "__main__":
    cli()
