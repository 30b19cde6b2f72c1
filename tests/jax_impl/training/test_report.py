"""The log has no gaps or doubles, and the pictures are there."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.edge.errors import UserError
from jax_impl.training.board import Board
from jax_impl.training.overhead import OVERHEAD
from jax_impl.training.report import METRICS_LOG, PLOT, SAMPLES, MetricsLog, Thinned, plot_losses, read_log


def test_reopening_drops_later_records_and_torn_lines(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, 0)
    for step in range(1, 6):
        log.write(step, {"epoch": step / 2, "loss": 1.0 / step})
    log.close()
    with (tmp_path / METRICS_LOG).open("a") as file:
        file.write('{"step": 6, "lo')
    log = MetricsLog(tmp_path, 3)
    log.write(4, {"epoch": 2.0, "loss": 9.0})
    log.close()
    assert [(r["step"], r["loss"]) for r in read_log(tmp_path)] == [(1, 1.0), (2, 0.5), (3, 1 / 3), (4, 9.0)]
    assert log.mean_since(2, "loss") == pytest.approx((1 / 3 + 9.0) / 2)


def write_epochs(log: MetricsLog, first: int, last: int, per_epoch: int = 4) -> list[float]:
    """Write the steps from `first` to `last` as training does; returns the epoch means it asked for."""
    means = []
    for step in range(first, last + 1):
        log.write(step, {"epoch": step / per_epoch, "loss": 1.0 / step})
        if step % per_epoch == 0:
            means.append(log.mean_since(step - per_epoch, "loss"))
            log.write(step, {"epoch": step // per_epoch, "train_loss": means[-1]})
    return means


@pytest.mark.parametrize("at", [3, 4, 6, 8, 9])
def test_epoch_means_need_the_open_epoch_alone_and_survive_a_resume(tmp_path: Path, at: int) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    log = MetricsLog(whole, 0)
    means = write_epochs(log, 1, 12)
    log.close()
    assert means == [pytest.approx(sum(1.0 / n for n in range(k + 1, k + 5)) / 4) for k in (0, 4, 8)]
    log = MetricsLog(broken, 0)
    write_epochs(log, 1, 10)
    assert len(log.recent) == 2
    log.close()
    log = MetricsLog(broken, at)
    assert len(log.recent) == at % 4
    write_epochs(log, at + 1, 12)
    log.close()
    assert (broken / METRICS_LOG).read_text() == (whole / METRICS_LOG).read_text()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_json_is_neither_written_nor_read(tmp_path: Path, value: float) -> None:
    log = MetricsLog(tmp_path, 0)
    log.write(1, {"epoch": 0.5, "loss": 1.0})
    with pytest.raises(ValueError, match="JSON"):
        log.write(2, {"epoch": 1.0, "loss": value})
    log.close()
    assert log.mean_since(0, "loss") == 1.0
    with (tmp_path / METRICS_LOG).open("ab") as file:
        file.write(json.dumps({"step": 2, "epoch": 1.0, "loss": value}).encode() + b"\n\xff\0\n[2]\n")
    assert [r["step"] for r in read_log(tmp_path)] == [1]


@pytest.mark.parametrize("count", [0, 1, 2, 9, 10, 11, 100, 1003])
def test_thinned_points_are_few_even_and_keep_both_ends(count: int) -> None:
    series = [(float(n), 1.0 / (n + 1)) for n in range(count)]
    thinned = Thinned(10)
    for point in series:
        thinned.append(point)
        assert len(thinned.points()) <= 10
    points = thinned.points()
    assert points[:1] == series[:1] and points[-1:] == series[-1:]
    assert len(points) >= min(count, 5)
    # The last one comes when the series ends; the others keep their distance.
    assert len({b[0] - a[0] for a, b in pairwise(points[:-1])}) <= 1
    if count <= 9:
        assert points == series


def test_plot_of_an_empty_and_of_a_filled_log(tmp_path: Path) -> None:
    plot_losses(tmp_path)
    empty = Image.open(tmp_path / PLOT)
    log = MetricsLog(tmp_path, 0)
    for step in range(1, 9):
        log.write(step, {"epoch": step / 4, "loss": 1.0 / step})
    log.write(8, {"epoch": 2, "train_loss": 0.2, "val_loss": 0.3})
    log.close()
    plot_losses(tmp_path)
    filled = Image.open(tmp_path / PLOT)
    assert filled.size == empty.size == (960, 540)
    assert filled.tobytes() != empty.tobytes()


def test_tensorboard_files_on_request(tmp_path: Path) -> None:
    """The event file holds the figure and, as the PNG that it was, the picture."""
    picture = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    log = MetricsLog(tmp_path, 0, [Board(tmp_path / "tensorboard", 1)])
    log.write(1, {"epoch": 1, "loss": 1.0})
    log.show(1, picture)
    log.close()
    (file,) = (tmp_path / "tensorboard").glob("events.*")
    held = file.read_bytes()
    assert b"loss" in held and b"training_samples" in held
    with Image.open(io.BytesIO(held[held.index(b"\x89PNG") :])) as shown:
        np.testing.assert_array_equal(np.asarray(shown.convert("RGB")), picture)


def test_pictures_go_nowhere_without_another_log(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, 0)
    log.show(1, np.zeros((8, 8, 3), np.uint8))
    log.close()
    assert {path.name for path in tmp_path.iterdir()} == {METRICS_LOG}


def test_tensorboard_does_not_bring_torch_along(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from jax_impl.training.board import Board\n"
        "log = Board(Path(sys.argv[1]) / 'tensorboard', 1)\n"
        "log.write(1, {'epoch': 1, 'loss': 1.0}); log.close()\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (events,) = (tmp_path / "tensorboard").glob("events.*")
    assert b"loss" in events.read_bytes()


def test_a_run_leaves_its_reports(trained_run: Path) -> None:
    steps = [r["step"] for r in read_log(trained_run) if "loss" in r]
    assert steps == list(range(1, 7))
    epochs = [r for r in read_log(trained_run) if "val_loss" in r]
    assert [r["epoch"] for r in epochs] == [1, 2]
    assert {"loss", "mse", "mae", "grad_norm", "learning_rate", "epoch"} <= set(
        json.loads((trained_run / METRICS_LOG).read_text().splitlines()[0])
    )
    pictures = sorted((trained_run / SAMPLES).iterdir())
    assert [p.name for p in pictures] == ["epoch_0001.png", "epoch_0002.png"]
    assert Image.open(pictures[0]).size[0] > 3 * 16
    assert (trained_run / PLOT).exists()
    overhead = json.loads((trained_run / OVERHEAD).read_text())
    assert 0 < overhead["care_seconds"] == pytest.approx(sum(overhead["care"].values()))
    assert overhead["care_share"] == pytest.approx(overhead["care_seconds"] / overhead["training_seconds"])


def test_a_log_that_cannot_be_written_ends_in_one_line(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, 0)
    log.write(1, {"epoch": 0.5, "loss": 1.0})
    log.close()
    log.file = Path("/dev/full").open("ab", buffering=0)  # noqa: SIM115
    with pytest.raises(UserError, match=r"metrics\.jsonl cannot be written \(the disk is full.*--resume goes on"):
        log.write(2, {"epoch": 1.0, "loss": 1.0})
    log.close()
    assert [r["step"] for r in read_log(tmp_path)] == [1]
