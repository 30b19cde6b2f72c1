"""The stages of a run, one after the other, each from its position to its end."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from jax_impl.config.arguments import PROGRAM
from jax_impl.diffusion.losses.registry import remarks_on_parts
from jax_impl.training.feed import Feed, open_feed
from jax_impl.training.guard import describe_skipped
from jax_impl.training.interfaces import GaugedStage, Stage, StageState
from jax_impl.training.interrupt import StopSignal
from jax_impl.training.leadership import is_primary
from jax_impl.training.leaving import leave_bundle
from jax_impl.training.mesh import describe_devices, on_one_device
from jax_impl.training.planning import fit_to_time
from jax_impl.training.progress import Progress
from jax_impl.training.reports import NoReports, Reports
from jax_impl.training.session import Position, Session, count_parameters
from jax_impl.training.starting import following, of_stage, open_writer
from jax_impl.training.votes import Consensus
from jax_impl.training.writer import CheckpointWriter


def train_stages(session: Session, position: Position) -> int:
    """Train from a position to the end of the last stage; returns 0, or the signal that ended it early."""
    with StopSignal() as stop, open_feed(session.pairs, session.config, session.mesh) as feed:
        while True:
            session, end, signal = train_stage(session, position, feed, stop)
            print(describe_skipped(end.state), end="")
            short, last = is_short(session, end), end.index + 1 == len(session.config.stages)
            if short or last:
                leave_bundle(session, end)
            if short:
                where = f"step {int(end.state.step)} of {session.length(end.index).total}{of_stage(session, end.index)}"
                reason = "stopped" if signal else "time is up"
                print(f"{reason} after {where}; go on with: {resuming(session.folder)}")
                return signal
            if last:
                print(f"run folder: {session.folder}")
                return 0
            position = following(session, end)


def train_stage(session: Session, position: Position, feed: Feed, stop: StopSignal) -> tuple[Session, Position, int]:
    """Train one stage to its end, or until a signal or the end of the time.

    Returns the session, with the length that the stage was given where `train.minutes` asks for one, where training
    came, and that signal or 0.
    """
    index, stage, state = position.index, position.stage, position.state
    take_step = stage.make_step(session.length(index).per_epoch, session.mesh)
    reports = (Reports if is_primary() else NoReports)(session, position)
    session = fit_to_time(session, position, take_step, feed, (reports.validate, reports.draw))
    length, first, signal = session.length(index), int(state.step), 0
    print(describe_start(session, position))
    consensus = Consensus(session.mesh)
    with open_writer(session, position) as writer:
        progress = Progress(session, position)
        for step in range(first + 1, length.total + 1):
            state, metrics = take_step(state, *feed.batch(step - 1), length.total)
            progress.step(step, metrics)
            asked = (stop.number, progress.out_of_time(), progress.time_to_save(), progress.time_to_show())
            signal, late, due, show = consensus.maximum(asked)
            epoch, val_loss = step / length.per_epoch, None
            if step % length.per_epoch == 0 or step == length.total:
                progress.flush()
                networks = on_one_device(stage.networks(state), session.mesh)
                val_loss = reports.validate(networks)
                progress.epoch(step, val_loss, reports.gauge(watched(session, stage, state), networks))
                progress.show(step, reports.epoch(step, networks, now=bool(show) or step == length.total))
                due = due or epoch % session.config.train.checkpoint_every == 0
            elif show:
                progress.show(step, reports.between(step, on_one_device(stage.networks(state), session.mesh)))
            ending = step == length.total or signal or late
            if ending or due:
                save(writer, progress, state, epoch, val_loss, final=bool(ending))
            if ending:
                break
        end = Position(index, stage, state)
        if is_short(session, end):
            reports.plot()
        progress.close()
        reports.overhead()
    return session, end, signal


def watched(session: Session, stage: Stage, state: StageState) -> Any:
    """What the gauge of a stage looks at, on one device; nothing for a stage without one."""
    return on_one_device(stage.gauged(state), session.mesh) if isinstance(stage, GaugedStage) else None


def save(
    writer: CheckpointWriter,
    progress: Progress,
    state: StageState,
    epoch: float,
    val_loss: float | None,
    *,
    final: bool,
) -> None:
    """Save a state after so many epochs; a `final` one, which no later save makes up for, has to succeed."""
    progress.settle()
    doubtful = progress.in_a_row > 0
    if final:
        writer.finish(state, epoch, val_loss, doubtful=doubtful)
    elif not doubtful:
        writer.submit(state, epoch, val_loss)


def is_short(session: Session, position: Position) -> bool:
    """Whether a stage is not at its end."""
    return int(position.state.step) < session.length(position.index).total


def is_finished(session: Session, position: Position) -> bool:
    """Whether nothing is left to train: the last stage is at its end."""
    return position.index + 1 == len(session.config.stages) and not is_short(session, position)


def describe_finished(session: Session, position: Position) -> str:
    """That nothing is left to train, and how to go on nevertheless."""
    length, folder = session.length(position.index), shlex.quote(str(session.folder))
    own = session.config.stages[position.index].epochs is not None
    longer = "more epochs for its last stage (--stages)" if own else f"--train.epochs above {length.epochs}"
    longer = f"--train.minutes 0 and {longer}" if session.config.train.minutes else longer
    return (
        f"run {session.folder} is finished after step {int(position.state.step)} ({length.epochs} epochs of "
        f"{length.per_epoch} steps{of_stage(session, position.index)}): nothing is left to do. To train longer, resume "
        f"with {longer}; to go on with other settings or pairs, `python -m jax_impl.bundle --run {folder} "
        "--output model.safetensors` and start a new run with --init-from model.safetensors"
        f"\nrun folder: {session.folder}"
    )


def describe_start(session: Session, position: Position) -> str:
    """What is trained, how long and where."""
    length, config = session.length(position.index), session.config
    name = f"{of_stage(session, position.index)}: ".removeprefix(" of ").removeprefix(": ")
    size, time = f"{count_parameters(position):,} parameters", f"{length.epochs} epochs of {length.per_epoch} steps"
    start = f"{name}{size}, {time}, on {describe_devices(session.mesh)}"
    return "\n".join(
        (
            start,
            *remarks_on_parts(config.stages[position.index].terms(config), config.optim.accumulate, session.mesh.size),
        )
    )


def resuming(folder: Path) -> str:
    """The command line that goes on with a run: what it was asked for is in its folder."""
    return f"{PROGRAM} --resume --output-dir {shlex.quote(str(folder))}"
