"""Train a paired diffusion model: `python -m jax_impl.train [PRESET] --data.path DIR --output-dir runs/x`."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
from tqdm import tqdm

from export.edge.errors import UserError, run
from jax_impl.cli import TrainArgs, parse
from jax_impl.config import Config
from jax_impl.data.loader import Pairs, batch_indices, load, remarks, steps_per_epoch
from jax_impl.diffusion.schedule import Levels, alphas_cumprod
from jax_impl.model.network import count
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
from jax_impl.training.interrupt import StopSignal
from jax_impl.training.optim import learning_rate, make_optimizer
from jax_impl.training.report import MetricsLog, Sampler, plot_losses
from jax_impl.training.state import create, sampling_weights, with_params
from jax_impl.training.step import Batch, Metrics, Problem, fetch, make_train_step, make_validation_loss
from jax_impl.weights import warm_start

SHOWN_PAIRS = 4
"""Held-out pairs in a sample picture."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and train."""
    args = parse(sys.argv[1:] if argv is None else argv)
    config = prepare(args)
    for remark in remarks(config.data):
        print(remark)
    pairs, held_out = load(config.data, "train"), load(config.data, "val")
    print(f"{len(pairs.names)} training pairs, {len(held_out.names)} held out, {config.data.size} × {config.data.size}")
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
    config: Config, folder: Path, pairs: Pairs, held_out: Pairs, *, resume: bool = False, init_from: Path | None = None
) -> int:
    """Train from the state that the settings imply to the last epoch, leaving checkpoints and pictures in `folder`.

    Returns 0, or the number of the signal that ended it early. Raises UserError when a
    resumed run meets other data or a broken checkpoint, and when the loss is not finite.
    """
    per_epoch = steps_per_epoch(len(pairs.names), config.data.repeats, config.train.batch_size)
    total = per_epoch * config.train.epochs
    schedule = learning_rate(config.optim, per_epoch, config.train.epochs)
    optimizer = make_optimizer(config.optim, schedule)
    network, state = create(config, optimizer)
    if resume:
        check_data(folder, pairs, held_out)
    if resume and list_checkpoints(folder):
        state, found, problems = restore_newest(folder, state)
        warn_of_damage(problems)
        print(f"resuming after step {found.step} of {total}")
    elif init_from is not None:
        state = with_params(*warm_start(init_from, config, state.params, state.stats), config, optimizer, state.key)
    device = jax.devices()[0]
    print(f"{count(state.params):,} parameters, {per_epoch} steps an epoch, {config.train.epochs} epochs, on {device}")

    levels = alphas_cumprod(config.diffusion)
    problem = Problem(network, config, Levels.of(levels))
    train_step = make_train_step(problem, optimizer, schedule)
    validation_loss = make_validation_loss(problem)
    shown = held_out if held_out.names else pairs
    sampler = Sampler(
        problem, levels, Batch(shown.cond[:SHOWN_PAIRS], shown.x0[:SHOWN_PAIRS]), config.train.sample_steps
    )
    resident = Batch(jnp.asarray(pairs.cond), jnp.asarray(pairs.x0))

    folder.mkdir(parents=True, exist_ok=True)
    if init_from is not None:
        # Before there is a config to resume from: the run folder alone must say where the run began.
        save(folder, state, config.train.keep_checkpoints)
    write_data(folder, pairs, held_out)
    write_config(folder, config)
    first = int(state.step)
    log = MetricsLog(folder, first, config.train.tensorboard)
    bar = tqdm(total=total, initial=first, unit="step", dynamic_ncols=True, disable=None)
    started = time.monotonic()
    pending: tuple[int, Metrics] | None = None

    def drain() -> None:
        """Log the last step's metrics; fetched one step late, so that the device never waits for the host."""
        nonlocal pending
        if pending is not None:
            step, metrics = pending
            figures = fetch(metrics)
            if not math.isfinite(figures["loss"]):
                kept = [checkpoint.step for checkpoint in list_checkpoints(folder)]
                rest = f"the checkpoint of step {kept[-1]} is from before" if kept else "there is no checkpoint yet"
                raise UserError(
                    f"loss is {figures['loss']} at step {step}: training has diverged; start a new run with a smaller "
                    f"--optim.learning-rate than {config.optim.learning_rate} ({rest})"
                )
            log.write(step, {"epoch": step / per_epoch, **figures})
            rate = (step - first) * config.train.batch_size / (time.monotonic() - started)
            bar.set_postfix_str(f"loss {figures['loss']:.4f}, {rate:.1f} images/s", refresh=False)
            pending = None

    with StopSignal() as stop:
        for step in range(first, total):
            indices = batch_indices(
                config.train.seed, step, len(pairs.names), config.data.repeats, config.train.batch_size
            )
            state, metrics = train_step(state, resident, jnp.asarray(indices))
            drain()
            pending = (step + 1, metrics)
            bar.update()
            epoch, rest = divmod(step + 1, per_epoch)
            last = step + 1 == total
            if rest == 0:
                drain()
                record = {"epoch": epoch, "train_loss": log.mean_since(step + 1 - per_epoch, "loss")}
                if held_out.names:
                    held = Batch(jnp.asarray(held_out.cond), jnp.asarray(held_out.x0))
                    record["val_loss"] = validation_loss(sampling_weights(state), state.stats, held)
                log.write(step + 1, record)
                bar.write(", ".join(f"{name} {value:.4g}" for name, value in record.items()))
                if config.train.sample_every and (last or epoch % config.train.sample_every == 0):
                    sampler.save(folder, epoch, sampling_weights(state), state.stats)
                plot_losses(folder)
                if last or epoch % config.train.checkpoint_every == 0:
                    save(folder, state, config.train.keep_checkpoints)
            out_of_time = 0 < config.train.max_minutes * 60 <= time.monotonic() - started
            if (stop.requested or out_of_time) and not last:
                drain()
                save(folder, state, config.train.keep_checkpoints)
                plot_losses(folder)
                reason = "time is up" if out_of_time else "stopped"
                bar.close()
                print(f"{reason} after step {step + 1} of {total}; go on with --resume --output-dir {folder}")
                break
    bar.close()
    log.close()
    print(f"run folder: {folder}")
    return stop.number


def cli() -> None:
    """Entry point of the console script."""
    run(main)


if __name__ == "__main__":
    cli()
