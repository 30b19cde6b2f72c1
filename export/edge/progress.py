"""A progress bar for a terminal, a single line for everything else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

WIDTH = 30
"""Characters between the bar's brackets."""


class Progress:
    """Shows the step, the milliseconds a step takes and the time left, on stderr.

    The bar is drawn only where a person watches, on a terminal. `close` ends its line
    or, elsewhere, prints the one line that sums the run up.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.perf_counter) -> None:
        self.stream = sys.stderr if stream is None else stream
        self.clock = clock
        self.started = clock()
        self.done = 0
        self.total = 0
        self.live = self.stream.isatty()

    def update(self, done: int, total: int) -> None:
        """Say that `done` of `total` steps are behind us."""
        self.done, self.total = done, total
        if self.live:
            filled = WIDTH * done // total
            left = (self.clock() - self.started) / done * (total - done)
            bar = "#" * filled + "." * (WIDTH - filled)
            # The code after the carriage return erases what an earlier, longer line left behind.
            self.stream.write(f"\r\x1b[2K[{bar}] {self._pace()}, {_clock_face(left)} left")
            self.stream.flush()

    def close(self) -> None:
        """End the line that was drawn, or print the only one."""
        if self.live and self.done:
            self.stream.write("\n")
        elif self.done:
            self.stream.write(f"{self._pace()}\n")
        self.stream.flush()

    def _pace(self) -> str:
        milliseconds = 1000.0 * (self.clock() - self.started) / self.done
        return f"step {self.done}/{self.total}, {milliseconds:.0f} ms/step"


def _clock_face(seconds: float) -> str:
    """Minutes and seconds, or hours, minutes and seconds."""
    minutes, second = divmod(round(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02d}:{second:02d}" if hour else f"{minute}:{second:02d}"
