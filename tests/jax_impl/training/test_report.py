"""The log has no gaps or doubles, and the pictures are there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from jax_impl.training.report import METRICS, PLOT, SAMPLES, MetricsLog, plot_losses, read_log


def test_reopening_drops_later_records_and_torn_lines(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, 0, tensorboard=False)
    for step in range(1, 6):
        log.write(step, {"epoch": step / 2, "loss": 1.0 / step})
    log.close()
    with (tmp_path / METRICS).open("a") as file:
        file.write('{"step": 6, "lo')
    log = MetricsLog(tmp_path, 3, tensorboard=False)
    log.write(4, {"epoch": 2.0, "loss": 9.0})
    log.close()
    assert [(r["step"], r["loss"]) for r in read_log(tmp_path)] == [(1, 1.0), (2, 0.5), (3, 1 / 3), (4, 9.0)]
    assert log.mean_since(2, "loss") == pytest.approx((1 / 3 + 9.0) / 2)


def test_plot_of_an_empty_and_of_a_filled_log(tmp_path: Path) -> None:
    plot_losses(tmp_path)
    empty = Image.open(tmp_path / PLOT)
    log = MetricsLog(tmp_path, 0, tensorboard=False)
    for step in range(1, 9):
        log.write(step, {"epoch": step / 4, "loss": 1.0 / step})
    log.write(8, {"epoch": 2, "train_loss": 0.2, "val_loss": 0.3})
    log.close()
    plot_losses(tmp_path)
    filled = Image.open(tmp_path / PLOT)
    assert filled.size == empty.size == (960, 540)
    assert filled.tobytes() != empty.tobytes()


def test_tensorboard_files_on_request(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, 0, tensorboard=True)
    log.write(1, {"epoch": 1, "loss": 1.0})
    log.close()
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_a_run_leaves_its_reports(trained_run: Path) -> None:
    steps = [r["step"] for r in read_log(trained_run) if "loss" in r]
    assert steps == list(range(1, 7))
    epochs = [r for r in read_log(trained_run) if "val_loss" in r]
    assert [r["epoch"] for r in epochs] == [1, 2]
    assert {"loss", "mse", "mae", "grad_norm", "learning_rate", "epoch"} <= set(
        json.loads((trained_run / METRICS).read_text().splitlines()[0])
    )
    pictures = sorted((trained_run / SAMPLES).iterdir())
    assert [p.name for p in pictures] == ["epoch_0001.png", "epoch_0002.png"]
    assert Image.open(pictures[0]).size[0] > 3 * 16
    assert (trained_run / PLOT).exists()
