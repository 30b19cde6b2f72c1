"""Train a paired diffusion model: `python -m jax_impl.train [PRESET] --data.path DIR --output-dir runs/x`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import jax

from export.edge.disk.names import check_text
from export.edge.errors import UserError, run
from jax_impl.config.arguments import TrainArgs, parse
from jax_impl.config.tree import Config
from jax_impl.data.loader import LazyPairs, Pairs, open_held_out_pairs, open_pairs
from jax_impl.data.sources.registry import open_source
from jax_impl.devices import LESS_TRAINING, memory_errors, start_devices
from jax_impl.diffusion.losses.registry import Losses
from jax_impl.runs.folder import check_resume, read_config
from jax_impl.runs.plan import read_plan
from jax_impl.training.compiled import keep_programs
from jax_impl.training.cpu import eigen_convolutions, keep_memory
from jax_impl.training.dry_run import describe_run
from jax_impl.training.interfaces import Callback
from jax_impl.training.leadership import is_primary
from jax_impl.training.lines import Lines
from jax_impl.training.lock import LOCK, run_lock
from jax_impl.training.loggers import check_libraries
from jax_impl.training.loop import describe_finished, is_finished, train_stages
from jax_impl.training.mesh import make_mesh
from jax_impl.training.processes import join, process_group
from jax_impl.training.session import Session
from jax_impl.training.starting import begin, check_folder, check_new, newest, record

DETERMINISTIC = "--xla_gpu_deterministic_ops=true"
"""XLA's flag against operations whose sums depend on chance; it also keeps it from timing kernels to choose one."""

SLOW_SIZE = 64
"""Pictures of this side or more take the network `seed` long on a CPU, pixels."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and train."""
    number = launch(parse(sys.argv[1:] if argv is None else argv), (Lines(),))
    if number:
        sys.exit(128 + number)


@memory_errors(LESS_TRAINING)
def launch(args: TrainArgs, callbacks: Sequence[Callback] = ()) -> int:
    """Start JAX, with other processes where that is asked for, and train; returns what `train` does."""
    with eigen_convolutions(args.model.architecture):
        if args.train.deterministic:
            make_deterministic()
        keep_programs()
        join(args.coordinator, args.processes, args.process, detect=args.distributed)
        start_devices()
    with process_group():
        return start(args, callbacks)


def start(args: TrainArgs, callbacks: Sequence[Callback] = ()) -> int:
    """Check the settings, open the data and train; returns what `train` does."""
    # Another process that trains there is named before the data are read.
    early = (args.output_dir / LOCK).exists() and not args.dry_run and is_primary()
    with run_lock(args.output_dir) if early else nullcontext():
        config = prepare(args) if is_primary() else args.settings()
        source = open_source(config.data)
        for remark in source.remarks():
            print(remark)
        pairs, held_out = open_pairs(source, config.data), open_held_out_pairs(source, config.data)
        where, size = "streamed" if isinstance(pairs, LazyPairs) else "in memory", config.data.size
        print(f"{len(pairs.names)} training pairs {where}, {len(held_out.names)} held out, {size} × {size}")
        if config.model.architecture == "seed" and size >= SLOW_SIZE and jax.default_backend() == "cpu":
            print(
                "note: this network is that of the original script, made for accelerators; --dry-run says how long it "
                "takes on this CPU. The preset `tiny` is made for CPUs"
            )
        if args.dry_run:
            print("\n".join(describe_run(Session(config, args.output_dir, pairs, held_out, make_mesh(config)))))
            return 0
        return train(
            config,
            args.output_dir,
            pairs,
            held_out,
            resume=args.resume,
            init_from=args.init_from,
            callbacks=callbacks,
        )


def make_deterministic() -> None:
    """Ask XLA for operations that repeat to the last bit; before anything has started its backend."""
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DETERMINISTIC}".strip()


def prepare(args: TrainArgs) -> Config:
    """Check that the run folder and the settings go together, before anything is read or written."""
    config, folder = args.settings(), args.output_dir
    check_text(folder, "--output-dir")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output-dir {folder} is a file; name a folder")
    check_libraries(config)
    for stage in config.stages:
        Losses(stage.terms(config)).frozen()
    if not args.resume:
        check_new(folder)
        return config
    if args.init_from is not None:
        raise UserError("--resume and --init-from exclude each other; a resumed run has its own weights")
    for remark in check_resume(read_config(folder), config):
        print(remark)
    return config


def train(
    config: Config,
    folder: Path,
    pairs: Pairs | LazyPairs,
    held_out: Pairs,
    *,
    resume: bool = False,
    init_from: Path | None = None,
    callbacks: Sequence[Callback] = (),
) -> int:
    """Train the stages of the settings, leaving checkpoints and pictures in `folder`.

    Returns 0, at once where a resumed run is finished, or the number of the signal that
    ended it early. Raises UserError when a resumed run meets other data or no checkpoint is
    whole, when another process trains in `folder`, when too many steps in a row were skipped,
    and when the log or the last checkpoint cannot be written; where another checkpoint, a plot
    or a picture cannot be written, a line says so and training goes on. Several processes call
    it at the same time; the primary one alone validates and writes anything but its part of a
    checkpoint.
    """
    planned = read_plan(folder) if resume else {}
    session = Session(config, folder, pairs, held_out, make_mesh(config), tuple(callbacks), planned=planned)
    begun = None if resume else begin(session, init_from)
    with run_lock(folder) if is_primary() else nullcontext():
        check_folder(session, resume)
        position = begun or newest(session)
        if resume and is_finished(session, position):
            print(describe_finished(session, position))
            return 0
        record(session, position, warm=init_from is not None)
        return train_stages(session, position)


def cli() -> None:
    """Entry point of the console script."""
    # Not in `main`: a program that calls it has an allocator of its own to look after.
    keep_memory()
    run(main)


if __name__ == "__main__":
    cli()
