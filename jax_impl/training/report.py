"""The metrics log of a run, and the loss plot that is made of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from export.edge.disk.files import atomic_file
from export.edge.errors import UserError, describe_os_error
from jax_impl.training.loggers import Logger
from jax_impl.training.quiet import quiet_matplotlib

METRICS_LOG = "metrics.jsonl"
SAMPLES = "training_samples"
PLOT = "training_loss.png"
EPOCH_LOSS = "train_loss"
"""The figure that tells an epoch's record from those of its batches."""
PLOTTED_BATCHES = 2000
"""A plot of 960 pixels shows no more."""

Point = tuple[float, float]


class MetricsLog:
    """A JSONL file, a line per record, and further logs of the same records where wanted.

    Opened at a step of a stage, it drops the records of later ones: a resumed run writes them
    again, and the log has neither gaps nor doubles. Of what it wrote for that stage it remembers the
    records since the last epoch's own, which is the one that holds `train_loss`. Records of stages after the first one,
    whose index is 0, hold their `stage`.

    Writing raises UserError where the disk is full or broken, which ends the run: a
    checkpoint from after a record that is missing would leave a gap that nothing mends,
    while a resume from the last checkpoint writes the same records again.
    """

    def __init__(self, run: Path, step: int, others: Sequence[Logger] = (), stage: int = 0) -> None:
        self.path, self.stage = run / METRICS_LOG, stage
        self.recent: list[dict[str, float]] = []
        with atomic_file(self.path) as temporary, temporary.open("w", encoding="utf-8") as kept:
            for record in _records(run):
                if (stage_of(record), record["step"]) <= (stage, step):
                    kept.write(self._remember(record))
        # Without a buffer, what a failed write left in it cannot come out later.
        self.file = self.path.open("ab", buffering=0)
        self.others = others

    def write(self, step: int, record: dict[str, float]) -> None:
        """Append one record: its step, epoch and figures. Raises ValueError when one is NaN or infinite."""
        stage = {"stage": self.stage} if self.stage else {}
        line = self._remember({**stage, "step": step, **record}).encode()
        with self._writing():
            _append(self.file, line)
            for other in self.others:
                other.write(step, record)

    def show(self, step: int, picture: np.ndarray) -> None:
        """Add sample pictures, uint8 (height, width, 3), to the further logs."""
        with self._writing():
            for other in self.others:
                other.show(step, SAMPLES, picture)

    def sync(self) -> None:
        """Bring the log to disk: before a checkpoint that counts on what is in it."""
        with self._writing():
            os.fsync(self.file.fileno())
            for other in self.others:
                other.flush()

    def mean_since(self, step: int, name: str) -> float | None:
        """Mean of a figure over the records of later steps, those before a resume included; None where none has it.

        The mean reaches back to the last epoch's record, however early `step` is.
        """
        values = [r[name] for r in self.recent if r["step"] > step and name in r]
        return float(np.mean(values)) if values else None

    def close(self) -> None:
        """Flush and close the files."""
        with self._writing():
            self.file.close()
            for other in self.others:
                other.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"{self.path} cannot be written ({describe_os_error(error)}); training ends here, as a gap in it could "
                "not be mended: --resume goes on from the newest checkpoint"
            ) from error

    def _remember(self, record: dict[str, float]) -> str:
        """Note a record for `mean_since`; returns its line."""
        line = json.dumps(record, allow_nan=False) + "\n"
        if EPOCH_LOSS in record:
            self.recent.clear()
        elif stage_of(record) == self.stage:
            self.recent.append(record)
        return line


class NoLog:
    """The log of a process that is not the primary one: it writes nothing."""

    def write(self, step: int, record: dict[str, float]) -> None:
        """Drop a record."""

    def show(self, step: int, picture: np.ndarray) -> None:
        """Do nothing."""

    def sync(self) -> None:
        """Do nothing."""

    def mean_since(self, step: int, name: str) -> float | None:
        """No mean."""

    def close(self) -> None:
        """Do nothing."""


def stage_of(record: Mapping[str, float]) -> int:
    """The stage that a record is of."""
    return int(record.get("stage", 0))


def _append(file: FileIO, line: bytes) -> None:
    """Write a whole line at the end of a file without a buffer, or none of it."""
    before, left = os.fstat(file.fileno()).st_size, line
    try:
        while left:
            left = left[file.write(left) :]
    except OSError:
        with suppress(OSError):
            os.ftruncate(file.fileno(), before)
        raise


def read_log(run: Path) -> list[dict[str, float]]:
    """The records of a run's metrics log; a line cut short by a crash is left out."""
    return list(_records(run))


def _records(run: Path) -> Iterator[dict[str, float]]:
    """The records of `read_log`, one at a time."""
    path = run / METRICS_LOG
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                record = json.loads(line, parse_constant=_refuse)
            except ValueError:
                continue
            if isinstance(record, dict) and isinstance(record.get("step"), int):
                yield record


def _refuse(constant: str) -> float:
    """Python's reader would take NaN and Infinity, which are not JSON."""
    raise ValueError(f"{constant} is not JSON")


def plot_losses(run: Path) -> None:
    """Draw training_loss.png from the metrics log: train and validation loss by epoch, stages one after the other."""
    with quiet_matplotlib():
        from matplotlib.figure import Figure

    thinned = Thinned(PLOTTED_BATCHES)
    epochs: list[Point] = []
    validation: list[Point] = []
    stage, start, end = 0, 0.0, 0.0
    for record in _records(run):
        if stage_of(record) != stage:
            stage, start = stage_of(record), end
        end = start + record.get("epoch", end - start)
        for name, points in (("loss", thinned), (EPOCH_LOSS, epochs), ("val_loss", validation)):
            if name in record:
                points.append((end, record[name]))
    batches = thinned.points()
    # Fixed margins and a fixed place of the title: a layout measures everything once more, after every epoch.
    figure = Figure(figsize=(8, 4.5))
    figure.subplots_adjust(left=0.14, right=0.98, bottom=0.11, top=0.93)
    axes = figure.add_subplot()
    if batches:
        axes.plot(*zip(*batches, strict=True), color="#9db7d5", linewidth=0.8, label="train, by batch")
    style = {"linewidth": 1.8, "marker": "o", "markersize": 3}
    if epochs:
        axes.plot(*zip(*epochs, strict=True), color="#1f4e8c", label="train, epoch mean", **style)
    if validation:
        axes.plot(*zip(*validation, strict=True), color="#d1495b", label="validation", **style)
    axes.set(xlabel="epoch", ylabel="loss")
    axes.set_title("Training loss", y=1.0)
    if batches:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(_decimals())
        axes.yaxis.set_minor_formatter(_decimals())
        axes.legend(frameon=False)
    axes.grid(alpha=0.3, which="both")
    with atomic_file(run / PLOT) as temporary:
        figure.savefig(temporary, dpi=120, format="png")


def _decimals() -> Any:
    """A formatter for logarithmic axes: labels such as 0.02. To set powers of ten takes half the time of a plot."""
    from matplotlib.ticker import LogFormatter

    class Decimals(LogFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:g}" if super().__call__(x, pos) else ""

    return Decimals()


class Thinned:
    """Of a long series of points at most `most`, evenly spaced, with the first and the last."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.stride = 1
        self.count = 0
        self.kept: list[Point] = []
        self.last: list[Point] = []

    def append(self, point: Point) -> None:
        """Take the next point of the series."""
        if self.count % self.stride == 0:
            if len(self.kept) == self.most - 1:
                # Every second one goes; the point at hand may then fall between those that stay.
                self.kept = self.kept[::2]
                self.stride *= 2
            if self.count % self.stride == 0:
                self.kept.append(point)
        self.last = [point]
        self.count += 1

    def points(self) -> list[Point]:
        """The points kept so far, in order."""
        return self.kept if self.kept[-1:] == self.last else self.kept + self.last
