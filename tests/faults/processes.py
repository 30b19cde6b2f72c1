"""Training and its tools as processes of their own, and how what they leave is compared."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from orbax.checkpoint import v1 as ocp

from jax_impl.runs.folder import CONFIG, open_run
from jax_impl.training.report import METRICS_LOG
from jax_impl.training.state import to_arrays

ROOT = Path(__file__).resolve().parents[2]
CHILD = Path(__file__).parent / "child"
CHECKPOINTS = "model_checkpoints"
STEPS_PER_EPOCH = 10
PATIENCE = 300.0
"""Seconds after which a process counts as hung."""

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Ended:
    """A process that is over."""

    status: int
    """Exit status; -n where signal n ended it."""
    out: str
    err: str

    def complaint(self, *allowed: int) -> str | None:
        """What is wrong with how it ended: another status, or a failure told otherwise than in one line."""
        tail = self.err.strip()[-400:] or self.out.strip()[-200:]
        if self.status not in allowed:
            return f"exit status {self.status}: {tail}"
        if "Traceback" in self.err:
            return f"a traceback: {tail}"
        errors = sum(line.startswith("error: ") for line in self.err.splitlines())
        if errors != (self.status == 2):
            return f"exit status {self.status} with {errors} error lines: {tail}"
        return None


def small_run(epochs: int, *more: str) -> list[str]:
    """The words of a training that takes a moment: steps of 10 an epoch, a checkpoint after each, all kept.

    A network of one level, and pictures that are only turned over: most of the moment is compiling.
    """
    return [
        "tiny", "--data.size", "16", "--data.synthetic-pairs", "8", "--data.synthetic-val-pairs", "2",
        "--data.repeats", "5", "--model.patch", "4", "--model.width", "8", "--model.groups", "4",
        "--model.multipliers", "1", "--model.blocks", "1", "--data.augment.rotation", "0",
        "--data.augment.perspective", "0", "--data.augment.jitter-probability", "0",
        "--train.epochs", str(epochs), "--train.batch-size", "4", "--train.checkpoint-every", "1",
        "--train.keep-checkpoints", "1000", "--train.sample-every", "0",
        "--train.sample-steps", "2", *more,
    ]  # fmt: skip


class Process:
    """A command that runs, what it prints in files."""

    def __init__(self, module: str, words: Sequence[str], prints: Path, extra: Mapping[str, str] | None = None) -> None:
        # Every program is compiled once for all of these processes, those of a moment's work included.
        environment = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "PYTHONUNBUFFERED": "1", **os.environ}
        if extra:
            environment |= {"PYTHONPATH": f"{CHILD}{os.pathsep}{os.environ.get('PYTHONPATH', '')}", **extra}
        self.prints = prints
        self.began = time.monotonic()
        with self._file("out").open("w") as out, self._file("err").open("w") as err:
            command = [sys.executable, "-m", module, *words]
            self.popen = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=err)

    def out(self) -> str:
        """What it has printed so far."""
        return self._file("out").read_text(errors="replace")

    def wait_until(self, reached: Callable[[], object], seconds: float = PATIENCE) -> bool:
        """Wait for `reached`, or for the end of the process; whether it is still running."""
        while self.popen.poll() is None and self.age() < seconds and not reached():
            time.sleep(0.001)
        return self.popen.poll() is None

    def wait_for(self, seconds: float) -> bool:
        """Let it run for some time; whether it is still running then."""
        end = time.monotonic() + seconds
        return self.wait_until(lambda: time.monotonic() >= end)

    def age(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.began

    def send(self, number: int) -> Ended:
        """Send a signal and wait for the end."""
        self.popen.send_signal(number)
        return self.end()

    def end(self) -> Ended:
        """Wait for the end; a process that hangs is killed."""
        try:
            self.popen.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
        return Ended(self.popen.returncode, self.out(), self._file("err").read_text(errors="replace"))

    def _file(self, stream: str) -> Path:
        return self.prints.with_name(f"{self.prints.name}.{stream}")


def train(run: Path, fresh: Sequence[str], extra: Mapping[str, str] | None = None, beside: str = "") -> Process:
    """Train in a run folder: go on to the same end where it holds a run, else begin with the words `fresh`."""
    length = list(fresh[(at := fresh.index("--train.epochs")) : at + 2])
    words = ["--resume", *length] if (run / CONFIG).exists() else list(fresh)
    prints = Path(beside) if beside else run.with_name(f"{run.name}.log")
    return Process("jax_impl.train", [*words, "--output-dir", str(run)], prints, extra)


def finish(run: Path, fresh: Sequence[str], beside: str = "") -> Path:
    """Train to the end; returns the run folder. Raises RuntimeError when training fails."""
    ended = train(run, fresh, beside=beside).end()
    if complaint := ended.complaint(0):
        raise RuntimeError(f"{run}: {complaint}")
    return run


def committed(run: Path) -> set[int]:
    """Steps of the checkpoints whose manifest is on disk."""
    return {int(path.stem.removeprefix("step_")) for path in (run / CHECKPOINTS).glob("step_*.json")}


def uncommitted(run: Path) -> set[str]:
    """Names of the data folders without a manifest."""
    try:
        folders = {path.name for path in (run / CHECKPOINTS).iterdir() if path.suffix != ".json"} - {"damaged"}
    except FileNotFoundError:
        return set()
    return {name for name in folders if not (run / CHECKPOINTS / f"{name.lstrip('.').split('.')[0]}.json").exists()}


def stored(run: Path, step: int) -> Arrays:
    """The arrays of a checkpoint as orbax reads them, whatever its manifest says."""
    loaded = ocp.load(str((run / CHECKPOINTS / f"step_{step:08d}").absolute()))
    return {name: np.asarray(array) for name, array in loaded.items()}


def arrays_of(run: Path) -> Arrays:
    """The state that a run's newest usable checkpoint holds."""
    return {name: np.asarray(array) for name, array in to_arrays(open_run(run).state).items()}


def unlike(found: Arrays, wanted: Arrays) -> str | None:
    """The first array that is not the wanted one to the last bit."""
    if found.keys() != wanted.keys():
        return f"other arrays: {min(found.keys() ^ wanted.keys())}"
    for name, array in wanted.items():
        if array.dtype != found[name].dtype or array.tobytes() != found[name].tobytes():
            return f"{name} differs"
    return None


def unlike_run(run: Path, unbroken: Path) -> str | None:
    """In what a run ended otherwise than the unbroken one: its state, or its log."""
    if difference := unlike(arrays_of(run), arrays_of(unbroken)):
        return difference
    if (run / METRICS_LOG).read_bytes() != (unbroken / METRICS_LOG).read_bytes():
        return f"{METRICS_LOG} differs"
    return None


def contents(path: Path) -> dict[str, bytes]:
    """The files at `path`, a file or a folder, by name; temporary ones, whose names begin with a dot, left out."""
    if path.is_file():
        return {path.name: path.read_bytes()}
    names = (p.relative_to(path) for p in path.rglob("*") if p.is_file())
    return {name.as_posix(): (path / name).read_bytes() for name in names if not hidden(name)}


def leftovers(folder: Path) -> int:
    """Temporary files and folders that were left in `folder`."""
    return sum(path.name.startswith(".") for path in folder.rglob("*"))


def hidden(name: Path) -> bool:
    """Whether a relative path has a temporary file's name, or lies in such a folder."""
    return any(part.startswith(".") for part in name.parts)
