"""A run whose process is killed goes on in a fresh one as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jax_impl.run_folder import CONFIG, open_run
from jax_impl.training.checkpoint import FOLDER, list_checkpoints
from jax_impl.training.report import METRICS, read_log
from jax_impl.training.state import to_arrays

pytestmark = pytest.mark.skipif(os.name != "posix", reason="SIGKILL is a POSIX signal")

EPOCHS, STEPS = 3, 30
SMALL = [
    "tiny", "--data.size", "16", "--data.synthetic-pairs", "4", "--data.synthetic-val-pairs", "2",
    "--data.repeats", "10", "--model.patch", "4", "--model.width", "8", "--model.groups", "4", "--model.blocks", "1",
    "--train.epochs", str(EPOCHS), "--train.batch-size", "4", "--train.checkpoint-every", "1",
    "--train.keep-checkpoints", "10", "--train.sample-every", "0",
]  # fmt: skip


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    """Training as a process of its own; what it prints goes to a file beside the run folder."""
    # Every program is compiled once for all of these processes, those of a moment's work included.
    environment = {**os.environ, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    command = [sys.executable, "-m", "jax_impl.train", *words, "--output-dir", str(folder)]
    with folder.with_suffix(".txt").open("w") as output:
        return subprocess.Popen(command, env=environment, stdout=output, stderr=output, text=True)


def finish(folder: Path, *words: str) -> Path:
    """Train to the end; returns the run folder."""
    with start(folder, *words) as process:
        assert process.wait(timeout=300) == 0, folder.with_suffix(".txt").read_text()
    return folder


def kill_when(folder: Path, reached: Callable[[], object], *words: str) -> None:
    """Start the run, with more words, and kill it as soon as `reached` holds."""
    with start(folder, *SMALL, *words) as process:
        deadline = time.monotonic() + 300
        while not reached() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        process.kill()
        assert process.wait() == -signal.SIGKILL, folder.with_suffix(".txt").read_text()


def assert_same_run(a: Path, b: Path) -> None:
    left, right = to_arrays(open_run(a).state), to_arrays(open_run(b).state)
    assert int(left[".step"]) == STEPS
    assert left.keys() == right.keys()
    for name, array in left.items():
        np.testing.assert_array_equal(array, right[name], err_msg=name)
    assert (a / METRICS).read_text() == (b / METRICS).read_text()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run that no one disturbed."""
    folder = finish(tmp_path_factory.mktemp("unbroken") / "run", *SMALL)
    assert len(list_checkpoints(folder)) == EPOCHS
    return folder


def test_killed_after_a_checkpoint(unbroken: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    kill_when(run, lambda: list_checkpoints(run))
    assert list_checkpoints(run)
    assert list_checkpoints(run)[-1].step < STEPS
    finish(run, "--resume")
    assert_same_run(run, unbroken)


def test_killed_before_the_first_checkpoint(unbroken: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    kill_when(run, lambda: read_log(run))
    assert read_log(run)
    assert (run / CONFIG).is_file()
    assert list_checkpoints(run) == []
    finish(run, "--resume")
    assert_same_run(run, unbroken)


def test_killed_in_a_save_in_the_middle_of_an_epoch(unbroken: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"

    def saving() -> bool:
        folders = {path.name.split(".")[0] for path in (run / FOLDER).glob("step_*") if path.is_dir()}
        return bool(list_checkpoints(run)) and bool(folders - {c.folder.name for c in list_checkpoints(run)})

    kill_when(run, saving, "--train.checkpoint-minutes", "1e-9")
    assert 0 < list_checkpoints(run)[-1].step < STEPS // EPOCHS
    finish(run, "--resume", "--train.checkpoint-minutes", "0")
    assert "resuming after step" in run.with_suffix(".txt").read_text()
    assert_same_run(run, unbroken)
