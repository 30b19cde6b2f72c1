"""What training says in lines of text: that it compiles, how long it will take and, without a bar, how far it is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping

from jax_impl.training.checkpoint import say
from jax_impl.training.interfaces import Callback

EVERY = 30.0
"""Seconds between two lines where there is no progress bar."""
ENOUGH = 5.0
"""Seconds of steps after which the time of a step is known."""


class Lines(Callback):
    """Prints when the first step is compiled and how long it took, then how long the stage will take.

    Where standard error is no terminal, and so shows no progress bar, a line follows every EVERY seconds.
    """

    def __init__(
        self,
        write: Callable[[str], object] = say,
        clock: Callable[[], float] = time.monotonic,
        terminal: bool | None = None,
    ) -> None:
        """`write` prints a line; `clock` gives seconds; `terminal`: whether there is a progress bar, None: find out."""
        self.write, self.clock = write, clock
        self.bar = sys.stderr.isatty() if terminal is None else terminal
        self.steps = self.first = 0
        self.began = self.stepped = self.said = 0.0
        self.estimated = False

    def on_start(self, step: int, steps: int) -> None:
        """Say that the step is compiled."""
        self.first, self.steps, self.estimated = step, steps, False
        self.began = self.said = self.clock()
        if step < steps:
            self.write("compiling the training step; the first step takes longer than all others")

    def on_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Say what was measured, and how long the rest will take."""
        now, done = self.clock(), step - self.first
        if done == 1:
            self.stepped = self.said = now
            self.write(f"the first step took {spoken(now - self.began)}, compilation included")
            return
        each = (now - self.stepped) / (done - 1)
        left = (self.steps - step) * each
        if not self.estimated and now - self.stepped >= ENOUGH:
            self.estimated, self.said = True, now
            rate = f"{each:.2f} s a step" if each >= 0.1 else f"{each * 1000:.0f} ms a step"
            self.write(
                f"{self.steps - step:,} more steps take about {spoken(left)}, at {rate}, and validation, pictures and "
                "checkpoints some more"
            )
        elif not self.bar and now - self.said >= EVERY:
            self.said = now
            loss = f", loss {metrics['loss']:.4f}" if "loss" in metrics else ""
            self.write(f"step {step:,} of {self.steps:,}{loss}, about {spoken(left)} left")


def spoken(seconds: float) -> str:
    """A time in words: seconds, or minutes from two on, or hours and minutes."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
