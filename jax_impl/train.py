"""Train a paired diffusion model: `python -m jax_impl.train [PRESET] --data.path DIR --output-dir runs/x`."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
from tqdm import tqdm

from export.edge.errors import UserError, run
from jax_impl.cli import TrainArgs, parse
from jax_impl.config import Config
from jax_impl.data.loader import Pairs, batch_indices, load, remarks, steps_per_epoch
from jax_impl.diffusion.schedule import Levels, alphas_cumprod
from jax_impl.model.network import count
from jax_impl.run_folder import CONFIG, check_resume, read_config, write_config
from jax_impl.training.checkpoint import restore_newest, save
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
    train(config, args.output_dir, pairs, held_out, resume=args.resume, init_from=args.init_from)


def prepare(args: TrainArgs) -> Config:
    """Check that the run folder and the settings go together, before anything is read or written."""
    config, folder = args.config(), args.output_dir
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output-dir {folder} is a file; name a folder")
    if args.resume:
        if args.init_from is not None:
            raise UserError("--resume and --init-from exclude each other; a resumed run has its own weights")
        check_resume(read_config(folder), config)
    elif (folder / CONFIG).exists():
        raise UserError(f"--output-dir {folder} holds a run already; add --resume to go on, or name another folder")
    return config


def train(
    config: Config, folder: Path, pairs: Pairs, held_out: Pairs, *, resume: bool = False, init_from: Path | None = None
) -> None:
    """Train from the state that the settings imply to the last epoch, leaving checkpoints and pictures in `folder`."""
    per_epoch = steps_per_epoch(len(pairs.names), config.data.repeats, config.train.batch_size)
    total = per_epoch * config.train.epochs
    schedule = learning_rate(config.optim, per_epoch, config.train.epochs)
    optimizer = make_optimizer(config.optim, schedule)
    network, state = create(config, optimizer)
    if resume:
        state, found, problems = restore_newest(folder, state)
        for problem in problems:
            print(f"warning: passed over a damaged checkpoint, {problem}", file=sys.stderr)
        print(f"resuming after step {found.step} of {total}")
    elif init_from is not None:
        state = with_params(*warm_start(init_from, state.params, state.stats), config, optimizer, state.key)
    print(f"{count(state.params):,} parameters, {per_epoch} steps an epoch, {config.train.epochs} epochs")

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


def cli() -> None:
    """Entry point of the console script."""
    run(main)


if __name__ == "__main__":
    cli()
