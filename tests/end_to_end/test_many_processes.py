"""Two real processes over loopback train one model: as one does, until one is killed, and on from there."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from export.edge.errors import UserError
from jax_impl.runs.folder import open_run
from jax_impl.train import main
from jax_impl.training.checkpoint import list_checkpoints
from jax_impl.training.state import to_arrays

WORDS = [
    *("tiny", "--data.size", "16", "--data.synthetic-pairs", "6", "--data.synthetic-val-pairs", "2"),
    *("--data.repeats", "1", "--data.in-memory-mb", "0", "--model.width", "8", "--model.groups", "4"),
    *("--model.patch", "2", "--train.batch-size", "2", "--train.checkpoint-every", "1", "--train.sample-every", "0"),
    # Unlike the preset's, it does not depend on the length of the run.
    *("--optim.schedule", "step"),
]


def started(root: Path, words: list[str], output: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "jax_impl.train", *words]
    with output.open("w") as file:
        return subprocess.Popen(command, cwd=root, stdout=file, stderr=subprocess.STDOUT, text=True)


def pair(root: Path, words: list[str], folder: Path, name: str) -> list[subprocess.Popen[str]]:
    """Two processes of a run, told of each other; what they say goes to `name`0 and `name`1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    together = ["--coordinator", f"127.0.0.1:{port}", "--processes", "2"]
    return [started(root, [*words, *together, "--process", str(i)], folder / f"{name}{i}") for i in range(2)]


def ended(processes: list[subprocess.Popen[str]], within: float = 120) -> list[int]:
    try:
        return [process.wait(within) for process in processes]
    finally:
        for process in processes:
            process.kill()


def reached(run: Path, step: int, processes: list[subprocess.Popen[str]]) -> None:
    """Wait until a run has logged a step."""
    log = run / "metrics.jsonl"
    while not log.exists() or f'"step": {step},' not in log.read_text():
        assert all(process.poll() is None for process in processes)
        time.sleep(0.05)


def weights(run: Path) -> np.ndarray:
    arrays = to_arrays(open_run(run).state)
    return np.concatenate([np.ravel(array) for name, array in arrays.items() if ".params" in name])


@pytest.mark.slow
def test_two_processes_train_as_one_and_survive_the_loss_of_one(root: Path, tmp_path: Path) -> None:
    words = [*WORDS, "--train.epochs", "2"]
    assert ended([started(root, [*words, "--output-dir", str(tmp_path / "one")], tmp_path / "alone")]) == [0]
    fsdp = [*words, "--train.fsdp-devices", "2", "--output-dir", str(tmp_path / "two")]
    assert ended(pair(root, fsdp, tmp_path, "said")) == [0, 0], (tmp_path / "said0").read_text()
    assert "on 2 devices (cpu) in 2 processes, weights divided among 2" in (tmp_path / "said0").read_text()
    # The other one is silent, but for what Gloo says.
    assert all(line.startswith("[Gloo]") for line in (tmp_path / "said1").read_text().splitlines())
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert np.linalg.norm(one - two) <= 1e-4 * np.linalg.norm(one)
    records = [json.loads(line) for line in (tmp_path / "two/metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records if "loss" in r] == list(range(1, 7))

    long = ["--resume", "--train.epochs", "100000", "--output-dir", str(tmp_path / "two")]
    # Also the one that the others meet at.
    for killed, step in ((1, 10), (0, 16)):
        name, left = f"lost{killed}", 1 - killed
        lost = pair(root, [*WORDS, *long], tmp_path, name)
        reached(tmp_path / "two", step, lost)
        lost[killed].kill()
        assert ended(lost, within=60)[left] == 2
        said = (tmp_path / f"{name}{left}").read_text().splitlines()
        (line,) = [line for line in said if line.startswith("error: ")]
        assert "another process of this run has ended" in line and line.endswith("start all again with --resume")

    # A signal that only one of them gets stops both after the same step, and one process alone goes on.
    stopped = pair(root, [*WORDS, *long], tmp_path, "stopped")
    reached(tmp_path / "two", 24, stopped)
    stopped[1].send_signal(signal.SIGTERM)
    assert ended(stopped, within=60) == [128 + signal.SIGTERM] * 2, (tmp_path / "stopped0").read_text()
    newest = list_checkpoints(tmp_path / "two")[-1].step
    assert f"stopped after step {newest} of " in (tmp_path / "stopped0").read_text()
    alone = ["--resume", "--train.fsdp-devices", "1", "--train.max-minutes", "1e-9", "--train.epochs", "100000"]
    alone = [*WORDS, *alone, "--output-dir", str(tmp_path / "two")]
    assert ended([started(root, alone, tmp_path / "after")]) == [0]
    assert f"resuming after step {newest}" in (tmp_path / "after").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--processes", "2"], "--processes and --process belong to --coordinator"),
        (["--coordinator", "node0"], "choose HOST:PORT of process 0"),
        (["--coordinator", "node0:1", "--processes", "2", "--process", "2"], "--process is 2 of --processes 2"),
    ],
)
def test_what_does_not_name_the_others_is_refused(words: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        main([*WORDS, *words])
