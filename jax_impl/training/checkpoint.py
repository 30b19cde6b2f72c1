"""Checkpoints on disk: found, judged by their manifests, loaded, set aside.

`model_checkpoints/step_00000120/` holds what orbax writes; `step_00000120.json` in the same folder,
renamed into place last, makes it a checkpoint. Stages after the first one, whose index is 0, have folders of their own,
such as `model_checkpoints/stage_1/`. A folder without a manifest is the
leftover of an interrupted save: orbax alone would take it for the newest checkpoint,
and would load a flipped bit without an error. What is damaged is never deleted: the
process that trains moves it to `damaged/` in that folder, readers pass over it.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh
from orbax.checkpoint import v1 as ocp
from tqdm import tqdm

from export.edge.disk.files import sync_folder
from export.edge.errors import UserError, describe_os_error
from jax_impl.devices import LESS, is_out_of_memory, out_of_memory, start_devices
from jax_impl.training.manifest import find_fault_in, read_manifest
from jax_impl.training.mesh import put, single_device, state_sharding
from jax_impl.training.retention import CheckpointFacts, best_first
from jax_impl.training.state import State, from_arrays, to_arrays

FOLDER = "model_checkpoints"
DAMAGED = "damaged"
NEWEST, BEST = "newest", "best"


@dataclass(frozen=True)
class Checkpoint:
    """A committed checkpoint: its data folder, its manifest and the step it was taken after."""

    step: int
    folder: Path
    manifest: Path
    stage: int = 0


@dataclass(frozen=True)
class Damage:
    """A checkpoint that does not fit its manifest, and why."""

    checkpoint: Checkpoint
    fault: str

    def __str__(self) -> str:
        return f"{self.checkpoint.folder.name}: {self.fault}"


def folder_of(run: Path, stage: int = 0) -> Path:
    """The folder with the checkpoints of a stage."""
    return run / FOLDER / f"stage_{stage}" if stage else run / FOLDER


def checkpoint_of(run: Path, step: int, stage: int = 0) -> Checkpoint:
    """Where the checkpoint of a step lies, whether or not it is there."""
    folder = folder_of(run, stage) / f"step_{step:08d}"
    return Checkpoint(step, folder, folder.with_suffix(".json"), stage)


def list_checkpoints(run: Path, stage: int = 0) -> list[Checkpoint]:
    """Committed checkpoints of a stage, oldest first, damaged ones among them."""
    found = []
    for manifest in folder_of(run, stage).glob("step_*.json"):
        digits = manifest.stem.removeprefix("step_")
        if digits.isdecimal() and checkpoint_of(run, int(digits), stage).manifest == manifest:
            found.append(checkpoint_of(run, int(digits), stage))
    return sorted(found, key=lambda checkpoint: checkpoint.step)


def last_stage(run: Path) -> int:
    """The last stage of a run that has a committed checkpoint; 0 where none has."""
    numbers = (folder.name.removeprefix("stage_") for folder in (run / FOLDER).glob("stage_*"))
    stages = (int(number) for number in numbers if number.isdecimal())
    return max((stage for stage in stages if list_checkpoints(run, stage)), default=0)


def find_fault(checkpoint: Checkpoint) -> str | None:
    """What is wrong with a checkpoint's manifest or files, or None when every digest fits."""
    try:
        manifest = read_manifest(checkpoint.manifest)
        if (manifest.stage, manifest.step) != (checkpoint.stage, checkpoint.step):
            return f"its manifest is that of step {manifest.step} of stage {manifest.stage}"
        return find_fault_in(manifest, checkpoint.folder)
    except ValueError as error:
        return str(error)
    except OSError as error:
        return describe_os_error(error)


def restore(
    run: Path, template: State, wanted: str = NEWEST, mesh: Mesh | None = None, stage: int = 0
) -> tuple[State, Checkpoint, list[Damage]]:
    """The wanted checkpoint of a stage: (state, checkpoint, what was passed over because it is damaged).

    `wanted` is `newest`, `best` (the lowest validation loss) or a step; of the first two
    the next one is taken where one is damaged. A run that trains meanwhile may delete
    what is being read: then the search starts again. `template` may be an outline.
    The state is divided over `mesh`, whatever it was saved from, or lies on one device.
    Raises UserError when there is none, or when it holds other arrays than `template`.
    """
    start_devices()
    damages: dict[int, Damage] = {}
    while True:
        checkpoint = next((c for c in _by_preference(run, wanted, stage) if c.step not in damages), None)
        if checkpoint is None:
            raise UserError(_none_left(run, wanted, stage, list(damages.values())))
        fault = find_fault(checkpoint)
        if fault is None:
            try:
                return _load(checkpoint, template, mesh or single_device()), checkpoint, list(damages.values())
            except UserError:
                raise
            except Exception as error:  # orbax raises many kinds
                if is_out_of_memory(error):
                    raise out_of_memory(error, LESS) from error
                if checkpoint.manifest.exists():
                    raise UserError(
                        f"checkpoint {checkpoint.folder} is as it was written, but orbax cannot read it "
                        f"({first_line(error)}); use the version that wrote it"
                    ) from error
        elif checkpoint.manifest.exists():
            damages[checkpoint.step] = Damage(checkpoint, fault)


def set_aside(damage: Damage) -> Path:
    """Move a damaged checkpoint with its manifest to `damaged/`, and say so; for the holder of the run's lock alone.

    The folder goes first: without its manifest it would be taken for a leftover, were
    this interrupted.
    """
    checkpoint = damage.checkpoint
    root = checkpoint.folder.parent / DAMAGED
    root.mkdir(exist_ok=True)
    parts = [part for part in (checkpoint.folder, checkpoint.manifest) if part.exists()]
    names = itertools.chain([checkpoint.folder.name], (f"{checkpoint.folder.name}-{n}" for n in itertools.count(2)))
    name = next(name for name in names if not any((root / f"{name}{part.suffix}").exists() for part in parts))
    for part in parts:
        part.rename(root / f"{name}{part.suffix}")
    sync_folder(checkpoint.folder.parent)
    say(f"warning: damaged checkpoint {damage}; it is set aside in {root / name}")
    return root / name


def remove_leftovers(run: Path, stage: int = 0) -> list[str]:
    """Remove a stage's data folders without a manifest; returns their names. For the holder of the lock alone."""
    found = []
    for folder in folder_of(run, stage).glob("step_*"):
        if folder.is_dir() and not (folder.parent / f"{folder.name.split('.')[0]}.json").exists():
            shutil.rmtree(folder, ignore_errors=True)
            found.append(folder.name)
    return found


def say(line: str) -> None:
    """Print one line on stderr, from any thread, without tearing the progress bar."""
    tqdm.write(line, file=sys.stderr)
    sys.stderr.flush()


def check_wanted(wanted: str) -> str:
    """Return `wanted` where it can name a checkpoint, else raise UserError."""
    if wanted not in (NEWEST, BEST) and not wanted.isdecimal():
        raise UserError(f"--checkpoint is {wanted}: choose {NEWEST}, {BEST} or the number of a step")
    return wanted


def first_line(error: BaseException) -> str:
    """What an error says, in one short line."""
    if isinstance(error, OSError):
        return describe_os_error(error)
    # How orbax's C++ core reports a failed write, at the end of a long line.
    if number := re.search(r"os_error_code='(\d+)'", str(error)):
        return describe_os_error(OSError(int(number[1]), os.strerror(int(number[1]))))
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__


def _by_preference(run: Path, wanted: str, stage: int) -> list[Checkpoint]:
    """Checkpoints in the order in which they are to be tried."""
    found = list_checkpoints(run, stage)[::-1]
    if wanted == NEWEST:
        return found
    if wanted != BEST:
        return [checkpoint for checkpoint in found if checkpoint.step == int(wanted)]
    scored, unreadable = [], []
    for checkpoint in found:
        try:
            scored.append(CheckpointFacts(checkpoint.step, val_loss=read_manifest(checkpoint.manifest).val_loss))
        except (OSError, ValueError):
            unreadable.append(checkpoint)
    # What cannot be read comes first, to be reported: it might have been the best.
    return unreadable + [checkpoint_of(run, entry.step, stage) for entry in best_first(scored)]


def _none_left(run: Path, wanted: str, stage: int, damages: list[Damage]) -> str:
    detail = f" ({'; '.join(map(str, damages))})" if damages else ""
    there = [checkpoint.step for checkpoint in list_checkpoints(run, stage)]
    if wanted == BEST and len(there) > len(damages):
        return f"run {run} has no usable checkpoint with a validation loss{detail}; choose --checkpoint newest"
    if wanted not in (NEWEST, BEST):
        return f"run {run} has no usable checkpoint of step {wanted}{detail}; there are {there}"
    if damages:
        again = f"remove {folder_of(run, stage)} to train stage {stage} again"
        remedy = f"restore one of them from a copy, or {again if stage else 'train again in another folder'}"
    else:
        remedy = "train it first, or name another run"
    return f"run {run} has no usable checkpoint{detail}; {remedy}"


def _alone() -> ocp.Context:
    """Orbax without a word to the other processes, each of which reads by itself."""
    context, me = ocp.Context(), jax.process_index()
    if jax.process_count() > 1:
        options = context.multiprocessing
        options.primary_host, options.active_processes, options.barrier_sync_key_prefix = me, {me}, f"process{me}"
    return context


def _load(checkpoint: Checkpoint, template: State, mesh: Mesh) -> State:
    wanted = jax.eval_shape(to_arrays, template)
    path = str(checkpoint.folder.absolute())
    with _alone():
        stored = ocp.metadata(path).metadata
    here = {name: (array.shape, array.dtype) for name, array in wanted.items()}
    there = {name: (tuple(array.shape), array.dtype) for name, array in stored.items()}
    for name in sorted(here.keys() | there.keys()):
        if here.get(name) != there.get(name):
            raise UserError(
                f"checkpoint {checkpoint.folder} holds {there.get(name)} for {name}, this configuration needs "
                f"{here.get(name)}; resume with the configuration the run was started with"
            )
    shardings = state_sharding(mesh, wanted)
    with _alone():
        if jax.process_count() == 1:
            abstract = {n: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=shardings[n]) for n, a in wanted.items()}
            return from_arrays(template, ocp.load(path, abstract))
        loaded = ocp.load(path, {name: np.empty(a.shape, a.dtype) for name, a in wanted.items()})
    return from_arrays(template, {name: put(array, shardings[name]) for name, array in loaded.items()})
