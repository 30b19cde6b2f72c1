"""Where a run begins: from random weights, from a bundle, or from its newest checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from export.edge.errors import UserError
from export.edge.model.layout import BUNDLE
from jax_impl.model import network
from jax_impl.runs.bundles import read_bundle, warm_start
from jax_impl.runs.folder import CONFIG, DATA, began_warm, check_data, check_frozen, write_config, write_data
from jax_impl.training.checkpoint import last_stage, list_checkpoints, remove_leftovers, restore, set_aside
from jax_impl.training.frozen import digests_of
from jax_impl.training.interfaces import NamedNetworks
from jax_impl.training.leadership import broadcast_from_primary, is_primary
from jax_impl.training.mesh import on_one_device, put_state
from jax_impl.training.retention import Retention
from jax_impl.training.session import Position, Session, key_of, outline
from jax_impl.training.writer import CheckpointWriter, SecondaryWriter


def check_new(folder: Path) -> None:
    """Raise UserError when a folder holds a run."""
    if (folder / CONFIG).exists():
        raise UserError(f"--output-dir {folder} holds a run already; add --resume to go on, or name another folder")
    if list_checkpoints(folder, last_stage(folder)):
        raise UserError(f"--output-dir {folder} holds checkpoints of an unknown run; remove it, or name another folder")


def check_folder(session: Session, resume: bool) -> None:
    """Raise UserError where the run cannot begin or go on in its folder; the primary process holds the lock."""
    if not is_primary():
        return
    if resume:
        check_data(session.folder, session.pairs, session.held_out)
        check_frozen(session.folder, digests_of(session.config))
    else:
        # Checked again: another process may have been quicker.
        check_new(session.folder)


def begin(session: Session, init_from: Path | None) -> Position:
    """The first stage at step 0, with the weights of a bundle where one is named; nothing is written."""
    before: NamedNetworks = {}
    first = session.config.stages[0]
    if init_from is None and first.warm:
        raise UserError(
            f"stage {first.stage} starts from a trained network: add --init-from model.safetensors, or put the stage "
            "denoising before it"
        )
    if init_from is None and session.config.codec.learned and not first.learns_codec:
        raise UserError(
            f"the codec {session.config.codec.codec} has no weights: add --init-from model.safetensors, or put the "
            "stage autoencoder before the others"
        )
    if init_from is not None:
        _, params, stats = network.outline(session.config)
        # First: what the stage cannot begin with at all needs no flags that would make it fit.
        bundle = read_bundle(init_from)
        first.check_start(bundle.config, bundle.networks.keys())
        before = warm_start(init_from, session.config, params, stats)
    return enter(session, 0, before)


def enter(session: Session, index: int, before: NamedNetworks) -> Position:
    """A stage at step 0, from the networks that the one before published."""
    stage = session.stage(index)
    return Position(index, stage, put_state(stage.init(before, key_of(session.config, index)), session.mesh))


def following(session: Session, done: Position) -> Position:
    """The stage after one that is done, at step 0; all processes call it at the same time."""
    state = on_one_device(done.state, session.mesh)
    return enter(session, done.index + 1, done.stage.publish(state, lambda: session.pairs))


def newest(session: Session) -> Position:
    """The stage and state to resume from; the first stage at step 0 when a run was stopped before its first save.

    Damaged newer checkpoints are set aside and leftovers of saves removed, so the primary process holds the run's
    lock; the others read what it chose. Raises UserError, and moves nothing, when none is whole.
    """
    folder, mesh = session.folder, session.mesh
    if not is_primary():
        index, step = broadcast_from_primary(0), broadcast_from_primary(0)
        if step < 0:
            return enter(session, 0, {})
        state, _, _ = restore(folder, outline(session.config, index), str(step), mesh, index)
        return Position(index, session.stage(index), state)
    index = last_stage(folder)
    if list_checkpoints(folder, index):
        with session.overhead.measure("digests"):
            state, found, damages = restore(folder, outline(session.config, index), mesh=mesh, stage=index)
        for damage in damages:
            set_aside(damage)
        print(f"resuming after step {found.step}{of_stage(session, index)}")
        position, step = Position(index, session.stage(index), state), found.step
    elif began_warm(folder):
        raise UserError(
            f"run {folder} began with the weights of a bundle, and its checkpoints are gone; start a new run in "
            "another folder with --init-from"
        )
    else:
        print("no checkpoint yet: starting from the first step")
        position, step = enter(session, 0, {}), -1
    for stage in range(len(session.config.stages)):
        for name in remove_leftovers(folder, stage):
            print(f"removed {name}, which an interrupted save left")
    broadcast_from_primary(index)
    broadcast_from_primary(step)
    return position


def record(session: Session, position: Position, *, warm: bool) -> None:
    """Write what a run is into its folder; where it began `warm`, with the weights of a bundle, its state first."""
    if warm:
        # Before there is a config to resume from: the run folder alone must say where the run began.
        with open_writer(session, position) as writer:
            writer.finish(position.state, 0.0)
    if not is_primary():
        return
    # What an earlier process left: it would be older than the checkpoints to come.
    (session.folder / BUNDLE).unlink(missing_ok=True)
    if not (session.folder / DATA).exists():
        digests = digests_of(session.config)
        write_data(session.folder, session.pairs, session.held_out, warm=warm, frozen=digests)
    write_config(session.folder, session.config)


def open_writer(session: Session, position: Position) -> CheckpointWriter:
    """The writer of this process for the checkpoints of a stage; the state itself needs no writing if it was read."""
    kind = CheckpointWriter if is_primary() else SecondaryWriter
    policy, trusted = Retention.of(session.config.train), (int(np.asarray(position.state.step)),)
    return kind(session.folder, policy, session.overhead, trusted, position.index)


def of_stage(session: Session, index: int) -> str:
    """The stage in words, for the end of a line; empty in a run of one."""
    stages = session.config.stages
    return f" of stage {index}, {stages[index].stage}" if len(stages) > 1 else ""
