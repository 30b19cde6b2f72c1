"""Sample pictures by time: when they are due, and that they change nothing of what is trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from jax_impl.config.tree import Config
from jax_impl.data.loader import load
from jax_impl.runs.folder import open_run
from jax_impl.train import train
from jax_impl.training import progress as module
from jax_impl.training.mesh import make_mesh
from jax_impl.training.progress import FIRST_PICTURES, Progress
from jax_impl.training.report import METRICS_LOG, SAMPLES
from jax_impl.training.session import Position, Session
from jax_impl.training.state import to_arrays

SmallConfig = Callable[..., Config]


def begun(config: Config, folder: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch) -> Progress:
    """The progress of a stage that begins now, by a clock that the test sets."""
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    pairs: Any = SimpleNamespace(names=["one", "two"])
    state = SimpleNamespace(step=0, guard=SimpleNamespace(in_a_row=0))
    session = Session(config, folder, pairs, pairs, make_mesh(config))
    return Progress(session, Position(0, session.stage(0), state))


def test_the_first_come_within_a_minute_and_others_by_age(
    small_config: SmallConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert FIRST_PICTURES < 60
    clock = [1000.0]
    progress = begun(small_config(sample_minutes=5.0), tmp_path, clock, monkeypatch)
    due = []
    for _ in range(800):
        clock[0] += 1.0
        if progress.time_to_show():
            due.append(clock[0] - 1000.0)
        if clock[0] == 1500.0:  # Those of an epoch count, too.
            progress.show(1, np.zeros((8, 8, 3), np.uint8))
    progress.close()
    assert due == [30.0, 330.0, 800.0]


@pytest.mark.parametrize("settings", [{"sample_every": 0, "sample_minutes": 1.0}, {"sample_minutes": 0.0}])
def test_none_where_none_are_wanted(
    settings: dict[str, float], small_config: SmallConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    progress = begun(small_config(**settings), tmp_path, clock, monkeypatch)
    clock[0] = 1e6
    assert not progress.time_to_show()
    progress.close()


def test_they_change_nothing_of_what_is_trained(small_config: SmallConfig, trained_run: Path, tmp_path: Path) -> None:
    """Pictures after every step: their names say the step, and weights and log are those of a run without."""
    config, run = small_config(sample_minutes=1e-9), tmp_path / "run"
    assert dataclasses.replace(config, train=dataclasses.replace(config.train, sample_minutes=0.0)) == small_config()
    train(config, run, load(config.data, "train"), load(config.data, "val"))
    names = sorted(path.name for path in (run / SAMPLES).iterdir())
    steps = [f"step_{step:08d}.png" for step in (1, 2, 4, 5)]
    assert names == ["epoch_0001.png", "epoch_0002.png", *steps]
    left, right = to_arrays(open_run(run).state), to_arrays(open_run(trained_run).state)
    for name, array in left.items():
        np.testing.assert_array_equal(array, right[name], err_msg=name)
    assert (run / METRICS_LOG).read_text() == (trained_run / METRICS_LOG).read_text()
