"""What a run says while it goes on: its log, its bar, and the alarm for too many skipped steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from export.edge.errors import UserError, describe_os_error
from jax_impl.config.tree import Config
from jax_impl.training.checkpoint import list_checkpoints, say
from jax_impl.training.guard import IN_A_ROW, NON_FINITE, SPIKE
from jax_impl.training.leadership import is_primary
from jax_impl.training.overhead import OVERHEAD, Overhead
from jax_impl.training.report import EPOCH_LOSS, MetricsLog
from jax_impl.training.step import Metrics, fetch


class Progress:
    """Logs every step's metrics one step late, so that the device never waits for the host.

    Of several processes the first one alone writes and shows anything.

    `flush` before anything that depends on the log or keeps the state: it is there that
    too many skipped steps end the run.
    """

    def __init__(
        self, run: Path, config: Config, first: int, per_epoch: int, overhead: Overhead, in_a_row: int
    ) -> None:
        self.run, self.config, self.first, self.per_epoch = run, config, first, per_epoch
        self.overhead = overhead
        self.in_a_row = in_a_row
        """Steps skipped up to the last one that was logged."""
        self.skipped = 0
        """Steps skipped since this process began to train."""
        primary = is_primary()
        self.log = MetricsLog(run, first, config.train.tensorboard) if primary else None
        total = per_epoch * config.train.epochs
        self.bar = tqdm(total=total, initial=first, unit="step", dynamic_ncols=True, disable=None if primary else True)
        # Monotonic: a clock that is set during the run changes nothing.
        self.started = self.saved = time.monotonic()
        self._pending: tuple[int, Metrics] | None = None

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
        rate = (step - self.first) * self.config.train.batch_size / self.seconds()
        shown = f"loss {figures['loss']:.4f}, {rate:.1f} images/s"
        if self.in_a_row:
            # What is not finite is not JSON, and `loss` is what means and plots are made of.
            spike = {"spike_loss": figures["loss"]} if marks[SPIKE] else {}
            figures = {"learning_rate": figures["learning_rate"], **marks, **spike}
            self.skipped += 1
        if self.log is not None:
            self.log.write(step, {"epoch": step / self.per_epoch, **figures})
        self.bar.set_postfix_str(f"{shown}, {self.skipped} skipped" if self.skipped else shown, refresh=False)
        if self.in_a_row > self.config.optim.max_skipped:
            raise UserError(self._diverged(step, marks))

    def epoch(self, step: int, val_loss: float | None) -> None:
        """Log and show the losses of the epoch that ends with `step`. Raises UserError for one that is not finite."""
        if val_loss is not None and not math.isfinite(val_loss):
            raise UserError(
                f"validation loss is {val_loss} after step {step}: training has diverged; {self._remedy(step)}"
            )
        if self.log is None:
            return
        record: dict[str, float] = {"epoch": step // self.per_epoch}
        train_loss = self.log.mean_since(step - self.per_epoch, "loss")
        if train_loss is not None:
            record[EPOCH_LOSS] = train_loss
        if val_loss is not None:
            record["val_loss"] = val_loss
        self.log.write(step, record)
        self.bar.write(", ".join(f"{name} {value:.4g}" for name, value in record.items()))

    def out_of_time(self) -> bool:
        """Whether the minutes that the settings allow are over."""
        return 0 < self.config.train.max_minutes * 60 <= self.seconds()

    def seconds(self) -> float:
        """Time since this process began to train."""
        return time.monotonic() - self.started

    def time_to_save(self) -> bool:
        """Whether the last checkpoint, or the start, is as old as the settings allow."""
        return 0 < self.config.train.checkpoint_minutes * 60 <= time.monotonic() - self.saved

    def settle(self) -> None:
        """Bring the log to disk, whole, for a checkpoint that is about to be written."""
        self.flush()
        if self.log is not None:
            self.log.sync()
        self.saved = time.monotonic()

    def attempt(self, what: str, draw: Callable[[], object]) -> None:
        """Do what a run can go on without; where the disk does not take it, say so in one line."""
        try:
            if self.log is not None:
                draw()
        except OSError as error:
            say(f"warning: {what} was not written ({describe_os_error(error)}); training goes on")

    def close(self) -> None:
        """Finish the bar, close the log, and say and note what care has cost."""
        self.bar.close()
        if self.log is None:
            return
        self.log.close()
        seconds = self.seconds()
        print(self.overhead.line(seconds))
        self.attempt(OVERHEAD, lambda: self.overhead.write(self.run, seconds))

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
        kept = [checkpoint for checkpoint in list_checkpoints(self.run) if checkpoint.step <= good]
        what = f"start a new run with a smaller --optim.learning-rate than {self.config.optim.learning_rate:g}"
        if not kept:
            return f"{what} (there is no checkpoint from before)"
        return f"{what}, --init-from a bundle of this one ({kept[-1].folder} is from before)"
