"""Weights & Biases gets what metrics.jsonl holds. Its library is large: a small one with its names is used here."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from export.edge.errors import UserError
from jax_impl.config.tree import Config
from jax_impl.data.loader import load
from jax_impl.train import main, train
from jax_impl.training.report import SAMPLES, read_log
from jax_impl.training.weights_and_biases import Tracker

SmallConfig = Callable[..., Config]


class Service:
    """What the library was asked for."""

    def __init__(self) -> None:
        self.runs: list[dict[str, Any]] = []
        self.sent: list[dict[str, Any]] = []
        self.axes: list[tuple[str, str]] = []
        self.finished = 0
        self.broken = False

    def library(self) -> Any:
        """As `import wandb` gives it."""
        return SimpleNamespace(init=self.init, Settings=dict, Image=np.array)

    def init(self, **settings: Any) -> Any:
        self.runs.append(settings)
        return SimpleNamespace(log=self.log, finish=self.finish, define_metric=self.define_metric)

    def log(self, values: dict[str, Any]) -> None:
        if self.broken:
            raise ConnectionError("no route to the service")
        self.sent.append(values)

    def define_metric(self, name: str, step_metric: str) -> None:
        self.axes.append((name, step_metric))

    def finish(self) -> None:
        self.finished += 1


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    made = Service()
    monkeypatch.setitem(sys.modules, "wandb", made.library())
    return made


def test_it_gets_what_the_log_holds_and_the_pictures(
    service: Service, small_config: SmallConfig, tmp_path: Path
) -> None:
    config, run = small_config(epochs=1, wandb="dusk"), tmp_path / "run"
    pairs = load(config.data, "train"), load(config.data, "val")
    train(config, run, *pairs)
    records = [values for values in service.sent if SAMPLES not in values]
    assert records == read_log(run)
    (shown,) = [values for values in service.sent if SAMPLES in values]
    assert shown["step"] == records[-1]["step"] and shown[SAMPLES].dtype == np.uint8
    (asked,) = service.runs
    assert (asked["project"], asked["name"], asked["dir"], asked["resume"]) == ("dusk", "run", str(run), "allow")
    assert asked["config"]["train"]["batch_size"] == 2 and json.dumps(asked["config"])
    assert service.axes == [("*", "step")] and service.finished == 1
    # A resumed training, here for another epoch, goes on in the same run of the service.
    train(small_config(epochs=2, wandb="dusk"), run, *pairs, resume=True)
    assert service.runs[1]["id"] == asked["id"]
    assert [values for values in service.sent if SAMPLES not in values] == read_log(run)


def test_each_stage_has_names_of_its_own(service: Service, small_config: SmallConfig, tmp_path: Path) -> None:
    for stage in (0, 1):
        log = Tracker(small_config(wandb="dusk"), tmp_path, stage)
        log.write(3, {"loss": 0.5})
        log.close()
    assert service.sent == [{"loss": 0.5, "step": 3}, {"stage_1/loss": 0.5, "stage_1/step": 3}]
    assert service.axes[1] == ("stage_1/*", "stage_1/step")
    assert len({asked["id"] for asked in service.runs}) == 1


def test_training_does_not_depend_on_it(
    service: Service, small_config: SmallConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = Tracker(small_config(wandb="dusk"), tmp_path, 0)
    service.broken = True
    for step in (1, 2):
        log.write(step, {"loss": 0.5})
        log.show(step, SAMPLES, np.zeros((8, 8, 3), np.uint8))
    log.close()
    said = capsys.readouterr()
    (line,) = (said.out + said.err).strip().splitlines()
    assert line == ("warning: Weights & Biases failed (no route to the service); training goes on without it")
    assert service.sent == [] and service.finished == 0


def test_a_library_that_is_not_installed_is_said_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r"train\.wandb needs wandb; `pip install wandb`, or leave it out"):
        main(["tiny", "--train.wandb", "dusk", "--output-dir", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


def test_a_picture_that_cannot_be_sent_does_not_end_training(
    service: Service, small_config: SmallConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def full(picture: np.ndarray) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(sys.modules["wandb"], "Image", full)
    log = Tracker(small_config(wandb="dusk"), tmp_path, 0)
    log.show(3, SAMPLES, np.zeros((2, 2, 3), np.uint8))
    log.write(4, {"loss": 0.5})
    assert service.sent == [] and "no space left on device" in capsys.readouterr().err
