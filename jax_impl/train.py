"""Train a paired diffusion model: `python -m jax_impl.train [PRESET] --data.path DIR --output-dir runs/x`."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from export.edge.errors import UserError, run
from jax_impl.config.arguments import PROGRAM, TrainArgs, parse
from jax_impl.config.tree import Config
from jax_impl.data.batches import steps_per_epoch
from jax_impl.data.loader import LazyPairs, Pairs, decode, open_held_out_pairs, open_pairs, tolerant
from jax_impl.data.sources.registry import open_source
from jax_impl.diffusion.losses.registry import remarks_on_parts
from jax_impl.model.network import Network, count
from jax_impl.runs.bundles import warm_start
from jax_impl.runs.folder import (
    CONFIG,
    DATA,
    began_warm,
    check_data,
    check_resume,
    read_config,
    write_config,
    write_data,
)
from jax_impl.training.checkpoint import list_checkpoints, remove_leftovers, restore, set_aside
from jax_impl.training.compiled import keep_programs
from jax_impl.training.dry_run import describe, estimate
from jax_impl.training.feed import open_feed
from jax_impl.training.guard import describe_skipped
from jax_impl.training.interrupt import StopSignal
from jax_impl.training.leadership import broadcast_from_primary, is_primary
from jax_impl.training.lock import LOCK, run_lock
from jax_impl.training.mesh import describe as describe_mesh
from jax_impl.training.mesh import make_mesh, on_one_device, put_state
from jax_impl.training.optim import learning_rate, make_optimizer
from jax_impl.training.overhead import Overhead
from jax_impl.training.processes import join, process_group
from jax_impl.training.progress import Progress
from jax_impl.training.report import PLOT, SAMPLES, SamplePictures, plot_losses
from jax_impl.training.retention import Retention
from jax_impl.training.state import TrainState, create, outline, sampling_weights, with_params
from jax_impl.training.step import Batch, Problem, make_train_step, make_validation_loss
from jax_impl.training.votes import Consensus
from jax_impl.training.writer import CheckpointWriter

SHOWN_PAIRS = 4
"""Held-out pairs in a sample picture."""
DETERMINISTIC = "--xla_gpu_deterministic_ops=true"
"""XLA's flag against operations whose sums depend on chance; it also keeps it from timing kernels to choose one."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and train."""
    args = parse(sys.argv[1:] if argv is None else argv)
    if args.train.deterministic:
        make_deterministic()
    keep_programs()
    join(args.coordinator, args.processes, args.process, detect=args.distributed)
    with process_group():
        number = start(args)
    if number:
        sys.exit(128 + number)


def start(args: TrainArgs) -> int:
    """Check the settings, open the data and train; returns what `train` does."""
    # Another process that trains there is named before the data are read.
    early = (args.output_dir / LOCK).exists() and not args.dry_run and is_primary()
    with run_lock(args.output_dir) if early else nullcontext():
        config = prepare(args) if is_primary() else args.config()
        source = open_source(config.data)
        for remark in source.remarks():
            print(remark)
        pairs, held_out = open_pairs(source, config.data), open_held_out_pairs(source, config.data)
        where, size = "streamed" if isinstance(pairs, LazyPairs) else "in memory", config.data.size
        print(f"{len(pairs.names)} training pairs {where}, {len(held_out.names)} held out, {size} × {size}")
        if args.dry_run:
            print("\n".join(describe(estimate(config, pairs), config)))
            return 0
        return train(config, args.output_dir, pairs, held_out, resume=args.resume, init_from=args.init_from)


def make_deterministic() -> None:
    """Ask XLA for operations that repeat to the last bit; before anything has started its backend."""
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DETERMINISTIC}".strip()


def prepare(args: TrainArgs) -> Config:
    """Check that the run folder and the settings go together, before anything is read or written."""
    config, folder = args.config(), args.output_dir
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output-dir {folder} is a file; name a folder")
    if not args.resume:
        check_new(folder)
        return config
    if args.init_from is not None:
        raise UserError("--resume and --init-from exclude each other; a resumed run has its own weights")
    check_resume(read_config(folder), config)
    return config


def check_new(folder: Path) -> None:
    """Raise UserError when a folder holds a run."""
    if (folder / CONFIG).exists():
        raise UserError(f"--output-dir {folder} holds a run already; add --resume to go on, or name another folder")
    if list_checkpoints(folder):
        raise UserError(f"--output-dir {folder} holds checkpoints of an unknown run; remove it, or name another folder")


def train(
    config: Config,
    folder: Path,
    pairs: Pairs | LazyPairs,
    held_out: Pairs,
    *,
    resume: bool = False,
    init_from: Path | None = None,
) -> int:
    """Train from the state that the settings imply to the last epoch, leaving checkpoints and pictures in `folder`.

    Returns 0, or the number of the signal that ended it early. Raises UserError when a
    resumed run meets other data or no checkpoint is whole, when another process trains
    in `folder`, when too many steps in a row were skipped, and when the log or the last
    checkpoint cannot be written; another checkpoint, a plot or a picture that cannot be
    is said and training goes on. Several processes call it at the same time; the first one
    alone writes, validates and draws.
    """
    settings, mesh, leading = config.train, make_mesh(config), is_primary()
    per_epoch = steps_per_epoch(len(pairs.names), config.data.repeats, settings.batch_size)
    total = per_epoch * settings.epochs
    schedule = learning_rate(config.optim, per_epoch, settings.epochs)
    optimizer = make_optimizer(config.optim, schedule)
    begun = None if resume else begin(config, optimizer, init_from)
    overhead = Overhead()
    with run_lock(folder) if leading else nullcontext():
        if begun is None:
            if leading:
                check_data(folder, pairs, held_out)
            network, state = newest_state(folder, config, optimizer, overhead, mesh)
        else:
            if leading:
                # Anew: another process may have been quicker.
                check_new(folder)
            network, state = begun
            state = put_state(state, mesh)
        first = int(state.step)
        print(
            f"{count(state.params):,} parameters, {settings.epochs} epochs of {per_epoch} steps, on "
            f"{describe_mesh(mesh)}"
        )
        for remark in remarks_on_parts(config.losses, config.optim.accumulate, mesh.size):
            print(remark)

        problem = Problem.of(network, config)
        train_step = make_train_step(problem, optimizer, schedule, mesh)
        validation_loss = make_validation_loss(problem)
        held = Batch(jnp.asarray(held_out.cond), jnp.asarray(held_out.x0))
        sample_pictures = SamplePictures(
            problem, first_pairs(held_out if held_out.names else pairs), settings.sample_steps
        )

        trusted, consensus = (first,) if resume else (), Consensus(mesh)
        with (
            CheckpointWriter(folder, Retention.of(settings), overhead, trusted) as writer,
            StopSignal() as stop,
            open_feed(pairs, config, mesh) as feed,
        ):
            if init_from is not None:
                # Before there is a config to resume from: the run folder alone must say where the run began.
                writer.finish(state, 0.0)
            if leading and not (folder / DATA).exists():
                write_data(folder, pairs, held_out, warm=init_from is not None)
            if leading:
                write_config(folder, config)
            progress = Progress(folder, config, first, per_epoch, overhead, int(state.guard.in_a_row))
            for step in range(first + 1, total + 1):
                state, metrics = train_step(state, *feed.batch(step - 1))
                progress.step(step, metrics)
                last, val_loss = step == total, None
                number, late, due = consensus.maximum((stop.number, progress.out_of_time(), progress.time_to_save()))
                if step % per_epoch == 0:
                    progress.flush()
                    epoch = step // per_epoch
                    weights, stats = on_one_device((sampling_weights(state), state.stats), mesh)
                    val_loss = validation_loss(weights, stats, held) if held_out.names and leading else None
                    progress.epoch(step, val_loss)
                    if settings.sample_every and (last or epoch % settings.sample_every == 0):
                        progress.attempt(SAMPLES, partial(sample_pictures.save, folder, epoch, weights, stats))
                    progress.attempt(PLOT, partial(plot_losses, folder))
                    due = due or epoch % settings.checkpoint_every == 0
                stopped = not last and (number or late)
                if due or last or stopped:
                    progress.settle()
                    doubtful = progress.in_a_row > 0
                    if last or stopped:
                        # What nobody comes after to try again has to succeed.
                        writer.finish(state, step / per_epoch, val_loss, doubtful=doubtful)
                    elif not doubtful:
                        writer.submit(state, step / per_epoch, val_loss)
                if stopped:
                    progress.attempt(PLOT, partial(plot_losses, folder))
                    progress.close()
                    print(describe_skipped(state), end="")
                    reason = "stopped" if number else "time is up"
                    print(f"{reason} after step {step} of {total}; go on with: {resuming(folder)}")
                    return number
            progress.close()
    print(describe_skipped(state), end="")
    print(f"run folder: {folder}")
    return 0


def first_pairs(pairs: Pairs | LazyPairs) -> Batch:
    """The first few pairs of a set, to show."""
    if isinstance(pairs, LazyPairs):
        good = tolerant(pairs)
        pairs = decode(replace(good, names=good.names[:SHOWN_PAIRS]))
    return Batch(pairs.cond[:SHOWN_PAIRS], pairs.x0[:SHOWN_PAIRS])


def begin(
    config: Config, optimizer: optax.GradientTransformation, init_from: Path | None
) -> tuple[Network, TrainState]:
    """The network and the state of a new run, with the weights of a bundle where one is named."""
    network, state = create(config, optimizer)
    if init_from is not None:
        state = with_params(*warm_start(init_from, config, state.params, state.stats), config, optimizer, state.key)
    return network, state


def newest_state(
    folder: Path, config: Config, optimizer: optax.GradientTransformation, overhead: Overhead, mesh: Mesh
) -> tuple[Network, TrainState]:
    """The network and the state to resume from, on a mesh; a fresh one when a run was stopped before its first save.

    Damaged newer checkpoints are set aside and leftovers of saves removed, so the caller
    holds the run's lock; of several processes the first one does that, and the others read
    what it chose. Raises UserError, and moves nothing, when none is whole.
    """
    if not is_primary():
        chosen = int(broadcast_from_primary(-1))
        if chosen < 0:
            network, state = create(config, optimizer)
            return network, put_state(state, mesh)
        network, template = outline(config, optimizer)
        return network, restore(folder, template, str(chosen), mesh)[0]
    chosen = -1
    if list_checkpoints(folder):
        network, template = outline(config, optimizer)
        with overhead.measure("digests"):
            state, found, damages = restore(folder, template, mesh=mesh)
        chosen = found.step
        for damage in damages:
            set_aside(damage)
        print(f"resuming after step {found.step}")
    elif began_warm(folder):
        raise UserError(
            f"run {folder} began with the weights of a bundle, and its checkpoints are gone; start a new run in "
            "another folder with --init-from"
        )
    else:
        print("no checkpoint yet: starting from the first step")
        network, state = create(config, optimizer)
        state = put_state(state, mesh)
    for name in remove_leftovers(folder):
        print(f"removed {name}, which an interrupted save left")
    broadcast_from_primary(chosen)
    return network, state


def resuming(folder: Path) -> str:
    """The command line that goes on with a run: what it was asked for is in its folder."""
    return f"{PROGRAM} --resume --output-dir {shlex.quote(str(folder))}"


def cli() -> None:
    """Entry point of the console script."""
    run(main)


if __name__ == "__main__":
    cli()
