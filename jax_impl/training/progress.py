"""What a stage prints and logs in training: its bar, its figures, and the end for too many skipped steps."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import jax
import numpy as np
from tqdm import tqdm

from export.edge.errors import UserError
from jax_impl.training.checkpoint import list_checkpoints
from jax_impl.training.guard import IN_A_ROW, NON_FINITE, SPIKE
from jax_impl.training.interfaces import Callback, Metrics
from jax_impl.training.leadership import is_primary
from jax_impl.training.loggers import open_loggers
from jax_impl.training.report import EPOCH_LOSS, MetricsLog, NoLog
from jax_impl.training.session import Position, Session

FIRST_PICTURES = 30.0
"""Seconds of training after which the first sample pictures are made, where no epoch ends earlier."""


class Progress:
    """Logs every step's metrics one step late, so that the device never waits for the host.

    Of several processes the primary one alone writes and shows anything.

    `flush` before anything that depends on the log or keeps the state: it is there that
    too many skipped steps end the run.
    """

    def __init__(self, session: Session, position: Position) -> None:
        self.session, self.config, self.stage = session, session.config, position.index
        self.length, self.first = session.length(position.index), int(position.state.step)
        self.in_a_row = int(position.state.guard.in_a_row)
        """Steps skipped up to the last one that was logged."""
        self.skipped = 0
        """Steps skipped since this process began to train the stage."""
        self.log, hidden = NoLog(), True
        self.callbacks: tuple[Callback, ...] = ()
        if is_primary():
            self.callbacks = session.callbacks
            others = open_loggers(self.config, session.folder, self.first + 1, self.stage)
            self.log = MetricsLog(session.folder, self.first, others, self.stage)
            hidden = None
        self.bar = tqdm(total=self.length.total, initial=self.first, unit="step", dynamic_ncols=True, disable=hidden)
        self.started = self.saved = time.monotonic()
        self.shown: float | None = None
        """When this process last made sample pictures of the stage, or asked for them."""
        self._pending: tuple[int, Metrics] | None = None
        for callback in self.callbacks:
            callback.on_start(self.first, self.length.total)

    def step(self, step: int, metrics: Metrics) -> None:
        """Take the metrics of a step that the device may still be computing, and log those of the one before."""
        self.flush()
        self._pending = (step, metrics)
        self.bar.update()

    def flush(self) -> None:
        """Log what is still pending. Raises UserError when more than optim.max_skipped steps in a row were skipped."""
        if self._pending is None:
            return
        step, metrics = self._pending
        self._pending = None
        figures = fetch(metrics)
        marks = {name: int(figures.pop(name)) for name in (NON_FINITE, SPIKE, IN_A_ROW)}
        self.in_a_row = marks[IN_A_ROW]
        rate = (step - self.first) * self.config.train.batch_size / (time.monotonic() - self.started)
        shown = f"loss {figures['loss']:.4f}, {rate:.1f} images/s"
        if self.in_a_row:
            # What is not finite is not JSON, and `loss` is what means and plots are made of.
            spike = {"spike_loss": figures["loss"]} if marks[SPIKE] else {}
            figures = {"learning_rate": figures["learning_rate"], **marks, **spike}
            self.skipped += 1
        record = {"epoch": step / self.length.per_epoch, **figures}
        self.log.write(step, record)
        for callback in self.callbacks:
            callback.on_step(step, record)
        self.bar.set_postfix_str(f"{shown}, {self.skipped} skipped" if self.skipped else shown, refresh=False)
        if self.in_a_row > self.config.optim.max_skipped:
            raise UserError(self._diverged(step, marks))

    def epoch(self, step: int, val_loss: float | None, gauges: Mapping[str, float]) -> None:
        """Log and show the losses of the epoch that ends with `step`, and other figures of it.

        Raises UserError for a validation loss that is not finite; such gauges are left out.
        """
        if val_loss is not None and not math.isfinite(val_loss):
            raise UserError(
                f"validation loss is {val_loss} after step {step}: training has diverged; {self._remedy(step)}"
            )
        done, more = divmod(step, self.length.per_epoch)
        record: dict[str, float] = {"epoch": step / self.length.per_epoch if more else done}
        train_loss = self.log.mean_since(step - (more or self.length.per_epoch), "loss")
        if train_loss is not None:
            record[EPOCH_LOSS] = train_loss
        if val_loss is not None:
            record["val_loss"] = val_loss
        record |= {name: value for name, value in gauges.items() if math.isfinite(value)}
        self.log.write(step, record)
        for callback in self.callbacks:
            callback.on_epoch(step, record)
        self.bar.write(", ".join(f"{name} {value:.4g}" for name, value in record.items()))

    def show(self, step: int, picture: np.ndarray | None) -> None:
        """Log sample pictures, uint8 (height, width, 3), where there are any."""
        if picture is not None:
            self.shown = time.monotonic()
            self.log.show(step, picture)

    def out_of_time(self) -> bool:
        """Whether the minutes that the settings allow are over."""
        return 0 < self.config.train.max_minutes * 60 <= self.session.seconds()

    def time_to_save(self) -> bool:
        """Whether the last checkpoint, or the start, is as old as the settings allow."""
        return 0 < self.config.train.checkpoint_minutes * 60 <= time.monotonic() - self.saved

    def time_to_show(self) -> bool:
        """Whether sample pictures are due in the middle of an epoch; the primary process knows, and asks once."""
        train, now = self.config.train, time.monotonic()
        if not (is_primary() and train.sample_every and train.sample_minutes):
            return False
        every = 60 * train.sample_minutes
        due = now - self.started >= min(FIRST_PICTURES, every) if self.shown is None else now - self.shown >= every
        if due:
            self.shown = now
        return due

    def settle(self) -> None:
        """Bring the log to disk, whole, for a checkpoint that is about to be written."""
        self.flush()
        self.log.sync()
        self.saved = time.monotonic()

    def close(self) -> None:
        """Finish the bar, close the log, and print what digests and the like have cost."""
        self.bar.close()
        self.log.close()
        print(self.session.overhead.line(self.session.seconds()))

    def _diverged(self, step: int, marks: dict[str, int]) -> str:
        optim = self.config.optim
        what = "a loss or gradient that is not finite"
        if marks[SPIKE]:
            what = f"a loss over {optim.spike_factor:g} times its mean (optim.spike_factor)"
        return (
            f"step {step} has {what} and is number {self.in_a_row} in a row to be skipped, over optim.max_skipped "
            f"({optim.max_skipped}): training has diverged; {self._remedy(step - self.in_a_row)}"
        )

    def _remedy(self, good: int) -> str:
        """What to do when the weights after step `good` are the last that may be worth something."""
        kept = [one for one in list_checkpoints(self.session.folder, self.stage) if one.step <= good]
        what = f"start a new run with a smaller --optim.learning-rate than {self.config.optim.learning_rate:g}"
        if not kept:
            return f"{what} (there is no checkpoint from before)"
        return f"{what}, --init-from a bundle of this one ({kept[-1].folder} is from before)"


def fetch(metrics: Metrics) -> dict[str, float]:
    """Metrics as Python floats; waits for the device."""
    return {name: float(value) for name, value in jax.device_get(metrics).items()}
