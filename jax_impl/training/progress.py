"""What a run says while it goes on: its log, its bar, and the alarm for a loss that is not finite."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from export.edge.errors import UserError, describe_os_error
from jax_impl.config import Config
from jax_impl.training.checkpoint import list_checkpoints, say
from jax_impl.training.overhead import OVERHEAD, Overhead
from jax_impl.training.report import MetricsLog
from jax_impl.training.step import Metrics, fetch


class Progress:
    """Logs every step's metrics one step late, so that the device never waits for the host.

    `flush` before anything that depends on the log or keeps the state: it is there that
    a loss that is not finite ends the run.
    """

    def __init__(self, run: Path, config: Config, first: int, per_epoch: int, overhead: Overhead) -> None:
        self.run, self.config, self.first, self.per_epoch = run, config, first, per_epoch
        self.overhead = overhead
        self.log = MetricsLog(run, first, config.train.tensorboard)
        total = per_epoch * config.train.epochs
        self.bar = tqdm(total=total, initial=first, unit="step", dynamic_ncols=True, disable=None)
        # Monotonic: a clock that is set during the run changes nothing.
        self.started = self.saved = time.monotonic()
        self._pending: tuple[int, Metrics] | None = None

    def step(self, step: int, metrics: Metrics) -> None:
        """Take the metrics of a step that the device may still be computing, and log those of the one before."""
        self.flush()
        self._pending = (step, metrics)
        self.bar.update()

    def flush(self) -> None:
        """Log what is still pending. Raises UserError when its loss is not finite."""
        if self._pending is None:
            return
        step, metrics = self._pending
        self._pending = None
        figures = fetch(metrics)
        with self.overhead.measure("finiteness"):
            finite = math.isfinite(figures["loss"])
        if not finite:
            raise UserError(self._diverged(step, figures["loss"]))
        self.log.write(step, {"epoch": step / self.per_epoch, **figures})
        rate = (step - self.first) * self.config.train.batch_size / self.seconds()
        self.bar.set_postfix_str(f"loss {figures['loss']:.4f}, {rate:.1f} images/s", refresh=False)

    def epoch(self, step: int, val_loss: float | None) -> None:
        """Log and show the losses of the epoch that ends with `step`."""
        record = {"epoch": step // self.per_epoch, "train_loss": self.log.mean_since(step - self.per_epoch, "loss")}
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
        self.log.sync()
        self.saved = time.monotonic()

    def attempt(self, what: str, draw: Callable[[], object]) -> None:
        """Do what a run can go on without; where the disk does not take it, say so in one line."""
        try:
            draw()
        except OSError as error:
            say(f"warning: {what} was not written ({describe_os_error(error)}); training goes on")

    def close(self) -> None:
        """Finish the bar, close the log, and say and note what care has cost."""
        self.bar.close()
        self.log.close()
        seconds = self.seconds()
        print(self.overhead.line(seconds))
        self.attempt(OVERHEAD, lambda: self.overhead.write(self.run, seconds))

    def _diverged(self, step: int, loss: float) -> str:
        kept = [checkpoint.step for checkpoint in list_checkpoints(self.run)]
        rest = f"the checkpoint of step {kept[-1]} is from before" if kept else "there is no checkpoint yet"
        return (
            f"loss is {loss} at step {step}: training has diverged; start a new run with a smaller "
            f"--optim.learning-rate than {self.config.optim.learning_rate} ({rest})"
        )
