"""Checkpoints written in the background, checked before they count.

A save copies the state to host memory; a thread then lets orbax write it, flushes the
files to disk, takes their digests, loads them back and compares every bit with the
copy, and only then renames the manifest into place, which is what commits it. A save
that fails is said in one line, removes what it wrote, leaves the earlier checkpoints
alone and lets training go on. One save is in flight at most: the next one waits for it.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from export.edge.disk.files import sync_folder, write_bytes
from export.edge.errors import UserError
from jax_impl.training.checkpoint import (
    Checkpoint,
    Damage,
    checkpoint_of,
    find_fault,
    first_line,
    list_checkpoints,
    remove_leftovers,
    say,
    set_aside,
)
from jax_impl.training.interfaces import StageState
from jax_impl.training.leadership import broadcast_from_primary
from jax_impl.training.manifest import Manifest, files_of, of_folder, read_manifest, to_bytes
from jax_impl.training.mesh import to_host
from jax_impl.training.overhead import Overhead
from jax_impl.training.quiet import is_news, quiet_orbax
from jax_impl.training.retention import CheckpointFacts, Retention, is_kept_for_good, to_delete
from jax_impl.training.state import to_arrays

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class _Save:
    """What is to be written; no arrays where all processes have written them together."""

    step: int
    arrays: Arrays | None
    epoch: float
    val_loss: float | None
    retain: bool = True
    """Whether to delete what the policy does not keep."""
    report: bool = True
    """Whether to print a line when it fails."""


def save(run: Path, state: StageState, policy: Retention, epoch: float = 0.0, val_loss: float | None = None) -> None:
    """Write the state as the newest checkpoint of a run, in the foreground; then delete what `policy` does not keep.

    Raises UserError when it cannot be written.
    """
    with CheckpointWriter(run, policy, Overhead()) as writer:
        writer.finish(state, epoch, val_loss)


class CheckpointWriter:
    """Writes, keeps and deletes the checkpoints of a stage; its process holds the run's lock.

    Of several processes the primary one has this, the others a `SecondaryWriter`, and all call the same methods at the
    same time: each writes its part while the steps wait, and the primary one then takes the digests and commits.
    Nothing is read back, as no process has all of it, and where one cannot write its part the run ends.

    `trusted` are the steps whose checkpoints this process has verified already. Leaving
    it waits for the save in flight.
    """

    def __init__(
        self, run: Path, policy: Retention, overhead: Overhead, trusted: tuple[int, ...] = (), stage: int = 0
    ) -> None:
        self.run, self.policy, self.overhead, self.stage = run, policy, overhead, stage
        self.failure = ""
        """Why the last save failed; empty when it did not."""
        self._trusted = set(trusted)
        logging.getLogger("asyncio").addFilter(is_news)
        self._thread: threading.Thread | None = None

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.join()

    def submit(self, state: StageState, epoch: float, val_loss: float | None = None) -> None:
        """Start to save the state after `epoch` epochs; returns once it is copied to the host.

        Waits for the save in flight first. The state may be donated to the next step at once.
        """
        self.join()
        self._start(_Save(*self._take(state), epoch, val_loss))

    def join(self) -> None:
        """Wait for the save in flight, if there is one; `failure` then says how it went."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def finish(self, state: StageState, epoch: float, val_loss: float | None = None, *, doubtful: bool = False) -> None:
        """Save the state, wait, and try once more where that fails. For a `doubtful` state no other is deleted.

        Raises UserError, with the newest good checkpoint, when it fails again.
        """
        self.join()
        step, arrays = self._take(state)
        # What all have written together is gone after a failure, and the others are not here to write it again.
        for report in (True, False) if arrays is not None else (False,):
            self._start(_Save(step, arrays, epoch, val_loss, retain=not doubtful, report=report))
            self.join()
            if not self.failure:
                return
        raise UserError(
            f"checkpoint {self._at(step).folder} was not written ({self.failure}); "
            f"see that {self.run} has free space and may be written ({self._newest()})"
        )

    def _take(self, state: StageState) -> tuple[int, Arrays | None]:
        """The state's step and a copy of it; None where all processes have written it together."""
        step, arrays = int(state.step), to_arrays(state)
        with self.overhead.measure("saving"):
            if jax.process_count() == 1:
                return step, {name: to_host(array) for name, array in arrays.items()}
            folder = self._at(step).folder
            self._prepare(folder)
            broadcast_from_primary(step)  # No process writes before what is left over is gone.
            try:
                ocp.save(str(folder.absolute()), arrays)
            except Exception as error:  # of many kinds, and the others wait for this process
                raise UserError(
                    f"checkpoint {folder} was not written ({first_line(error)}); see to its disk"
                ) from error
        return step, None

    def _at(self, step: int) -> Checkpoint:
        return checkpoint_of(self.run, step, self.stage)

    def _prepare(self, folder: Path) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self.run, self.stage)

    def _start(self, save: _Save) -> None:
        if save.step in self._trusted and self._at(save.step).manifest.exists():
            self.failure = ""
            return
        self._thread = threading.Thread(target=self._save, args=(save,), name="checkpoint")
        self._thread.start()

    def _save(self, save: _Save) -> None:
        """The thread's work; what goes wrong in it is noted and said, never raised."""
        try:
            with quiet_orbax():
                self._commit(save)
        except Exception as error:  # orbax reports what its C++ core cannot write as errors of several kinds
            self.failure = first_line(error)
            if save.report:
                what = f"checkpoint of step {save.step} was not written ({self.failure})"
                say(f"warning: {what}; the next one is tried again")
            return
        self.failure = ""
        self._trusted.add(save.step)
        try:
            if save.retain:
                self._retain()
        except OSError as error:
            say(f"warning: old checkpoints of {self.run} were not deleted ({first_line(error)})")

    def _commit(self, save: _Save) -> None:
        checkpoint, arrays = self._at(save.step), save.arrays
        folder = checkpoint.folder
        scored = save.val_loss if save.val_loss is not None and math.isfinite(save.val_loss) else None
        if checkpoint.manifest.exists():
            with self.overhead.measure("digests"):
                fault = find_fault(checkpoint)
            if fault is None:
                return
            set_aside(Damage(checkpoint, fault))
        if arrays is not None:
            self._prepare(folder)
        try:
            with self.overhead.measure("saving"):
                if arrays is not None:
                    ocp.save(str(folder.absolute()), arrays)
                _sync(folder)
            with self.overhead.measure("digests"):
                manifest = of_folder(folder, save.step, save.epoch, scored, self.stage)
            if arrays is not None:
                with self.overhead.measure("read-back"):
                    _compare(ocp.load(str(folder.absolute()), arrays), arrays)
            with self.overhead.measure("manifests"):
                write_bytes(checkpoint.manifest, to_bytes(manifest))
                if read_manifest(checkpoint.manifest) != manifest:
                    raise OSError("the manifest does not read as it was written")
        except BaseException:
            checkpoint.manifest.unlink(missing_ok=True)
            _clean_after_failure(self.run, self.stage)
            raise

    def _retain(self) -> None:
        """Delete what the policy does not keep; what turns out to be damaged is set aside and counts for nothing."""
        entries = []
        for checkpoint in list_checkpoints(self.run, self.stage):
            with self.overhead.measure("manifests"):
                manifest = _read_or_none(checkpoint)
            entry = CheckpointFacts(checkpoint.step)
            if manifest is not None:
                entry = CheckpointFacts(checkpoint.step, manifest.epoch, manifest.val_loss)
            # What is kept for good is not on the line, and to read all of it again at every start could take long.
            if checkpoint.step not in self._trusted and not is_kept_for_good(entry, self.policy):
                with self.overhead.measure("digests"):
                    fault = find_fault(checkpoint)
                if fault is not None:
                    set_aside(Damage(checkpoint, fault))
                    continue
                self._trusted.add(checkpoint.step)
            entries.append(entry)
        for step in to_delete(entries, self.policy):
            old = self._at(step)
            old.manifest.unlink()
            sync_folder(old.manifest.parent)
            shutil.rmtree(old.folder, ignore_errors=True)

    def _newest(self) -> str:
        there = [checkpoint.step for checkpoint in list_checkpoints(self.run, self.stage)]
        return f"the newest checkpoint is that of step {there[-1]}" if there else "there is no earlier checkpoint"


class SecondaryWriter(CheckpointWriter):
    """Of a process that is not the primary one: it writes its part of each save, and commits and deletes nothing."""

    def _prepare(self, folder: Path) -> None: ...

    def _start(self, save: _Save) -> None: ...


def _read_or_none(checkpoint: Checkpoint) -> Manifest | None:
    try:
        return read_manifest(checkpoint.manifest)
    except (OSError, ValueError):
        return None


def _compare(loaded: Arrays, arrays: Arrays) -> None:
    """Raise OSError unless both hold the same bits."""
    for name, array in arrays.items():
        back = np.asarray(loaded[name])
        if back.dtype != array.dtype or back.shape != array.shape or back.tobytes() != array.tobytes():
            raise OSError(f"{name} does not read as it was written; the disk or the memory is unreliable")


def _sync(folder: Path) -> None:
    """Flush every file below a folder, and the folders, to disk."""
    for path in files_of(folder).values():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    for part in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        sync_folder(part)
    sync_folder(folder.parent)


def _clean_after_failure(run: Path, stage: int) -> None:
    """Remove what a failed save left, and what orbax's writers, still at work when it gave up, put there again."""
    calm = 0
    for _ in range(100):
        calm = 0 if remove_leftovers(run, stage) else calm + 1
        if calm == 5:
            return
        time.sleep(0.1)
