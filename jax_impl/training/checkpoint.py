"""Checkpoints on disk: written by orbax, committed and verified by a digest manifest of our own.

`model_checkpoints/step_00000120/` holds what orbax writes; `step_00000120.json` beside it
names every file with its SHA-256 and is renamed into place last. A folder without a
manifest is the leftover of an interrupted save: orbax alone would take it for the newest
checkpoint, and would load a flipped bit without an error.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jax
from orbax.checkpoint import v1 as ocp

from export.edge.errors import UserError
from export.edge.files import sha256_file, write_json
from jax_impl.training.state import TrainState, from_arrays, to_arrays

FOLDER = "model_checkpoints"


@dataclass(frozen=True)
class Checkpoint:
    """A committed checkpoint: its data folder, its manifest and the step it was taken after."""

    step: int
    folder: Path
    manifest: Path


def list_checkpoints(run: Path) -> list[Checkpoint]:
    """Committed checkpoints of a run, oldest first."""
    found = []
    for manifest in sorted((run / FOLDER).glob("step_*.json")):
        digits = manifest.stem.removeprefix("step_")
        if digits.isdigit():
            found.append(Checkpoint(int(digits), manifest.with_suffix(""), manifest))
    return found


def save(run: Path, state: TrainState, keep: int) -> Checkpoint:
    """Write the state as the newest checkpoint of a run, then delete all but the newest `keep`.

    On an error, a full disk included, what was written is removed and the earlier
    checkpoints stay; the error goes on to the caller.
    """
    step = int(state.step)
    root = run / FOLDER
    root.mkdir(parents=True, exist_ok=True)
    checkpoint = Checkpoint(step, root / f"step_{step:08d}", root / f"step_{step:08d}.json")
    if checkpoint.manifest.exists():
        if find_fault(checkpoint) is None:
            return checkpoint
        checkpoint.manifest.unlink()
    _clean_leftovers(root)
    try:
        with _quiet():
            ocp.save(str(checkpoint.folder.absolute()), to_arrays(state))
        files = {str(f.relative_to(checkpoint.folder)): sha256_file(f) for f in _files(checkpoint.folder)}
        write_json(checkpoint.manifest, {"step": step, "files": files})
    except BaseException as error:
        _clean_after_failure(root)
        # Orbax reports a failed write of its C++ core as a ValueError or RuntimeError.
        if isinstance(error, ValueError | RuntimeError):
            raise UserError(
                f"checkpoint {checkpoint.folder} was not written ({_first_line(error)}); "
                f"see that {root} has free space and may be written"
            ) from error
        raise
    for old in list_checkpoints(run)[:-keep]:
        old.manifest.unlink()
        shutil.rmtree(old.folder, ignore_errors=True)
    return checkpoint


def restore_newest(run: Path, template: TrainState) -> tuple[TrainState, Checkpoint, list[str]]:
    """The newest checkpoint that is whole: (state, checkpoint, what was wrong with newer ones).

    `template` may be an outline. Raises UserError when there is none, or when it holds
    other arrays than `template`.
    """
    problems: list[str] = []
    for checkpoint in reversed(list_checkpoints(run)):
        fault = find_fault(checkpoint)
        if fault is None:
            return _load(checkpoint, template), checkpoint, problems
        problems.append(f"{checkpoint.folder.name}: {fault}")
    detail = f" ({'; '.join(problems)})" if problems else ""
    raise UserError(f"run {run} has no usable checkpoint{detail}; train it first, or name another run")


def find_fault(checkpoint: Checkpoint) -> str | None:
    """What is wrong with a checkpoint's files, or None when every digest fits."""
    try:
        listed = json.loads(checkpoint.manifest.read_text())["files"]
        present = {str(f.relative_to(checkpoint.folder)) for f in _files(checkpoint.folder)}
        if present != set(listed):
            return f"{len(present ^ set(listed))} files are missing or too many"
        for name, digest in listed.items():
            if sha256_file(checkpoint.folder / name) != digest:
                return f"{name} is damaged"
    except (ValueError, KeyError, TypeError, AttributeError):
        return "its manifest is damaged"
    return None


def _load(checkpoint: Checkpoint, template: TrainState) -> TrainState:
    wanted = jax.eval_shape(to_arrays, template)
    stored = ocp.metadata(str(checkpoint.folder.absolute())).metadata
    here = {name: (array.shape, array.dtype) for name, array in wanted.items()}
    there = {name: (tuple(array.shape), array.dtype) for name, array in stored.items()}
    for name in sorted(here.keys() | there.keys()):
        if here.get(name) != there.get(name):
            raise UserError(
                f"checkpoint {checkpoint.folder} holds {there.get(name)} for {name}, this configuration needs "
                f"{here.get(name)}; resume with the configuration the run was started with"
            )
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = {n: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding) for n, a in wanted.items()}
    return from_arrays(template, ocp.load(str(checkpoint.folder.absolute()), abstract))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep orbax from logging the traceback of an error that it raises as well."""
    logger = logging.getLogger("absl")
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before


def _files(folder: Path) -> list[Path]:
    return sorted(f for f in folder.rglob("*") if f.is_file())


def _clean_leftovers(root: Path) -> bool:
    """Remove data folders that no manifest vouches for; returns whether there were any."""
    found = False
    for folder in root.glob("step_*"):
        if folder.is_dir() and not (root / f"{folder.name.split('.')[0]}.json").exists():
            shutil.rmtree(folder, ignore_errors=True)
            found = True
    return found


def _clean_after_failure(root: Path) -> None:
    """Remove what a failed save left, and what orbax's writers, still at work when it gave up, put there again."""
    calm = 0
    for _ in range(100):
        calm = 0 if _clean_leftovers(root) else calm + 1
        if calm == 5:
            return
        time.sleep(0.1)


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
