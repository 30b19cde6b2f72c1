"""A progress bar for a terminal, a line or two for everything else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

WIDTH = 30
"""Characters between the bar's brackets."""
LONG = 10.0
"""Seconds of work ahead from which on that is said where no bar is drawn."""
SURE = 1.0
"""Seconds of work done after which it can be told how much is ahead."""
_ERASE = "\r\x1b[2K"


class Progress:
    """Shows the step, the milliseconds a step takes and the time left, on stderr.

    The bar is drawn only where a person watches, on a terminal. Elsewhere a run that will
    take long says so once. `close` ends the bar's line or, elsewhere, prints the line that
    sums the run up. `noun` is what is counted.
    """

    def __init__(
        self, stream: TextIO | None = None, clock: Callable[[], float] = time.perf_counter, noun: str = "step"
    ) -> None:
        self.stream = sys.stderr if stream is None else stream
        self.clock = clock
        self.noun = noun
        self.started = clock()
        self.done = 0
        self.total = 0
        self.warned = False
        self.live = self.stream.isatty()

    def update(self, done: int, total: int) -> None:
        """Say that `done` of `total` steps are behind us. With 0 the clock starts again."""
        self.done, self.total = done, total
        if done == 0:
            self.started = self.clock()
            if self.live:
                self._bar(f"{self.noun} 0/{total}")
            return
        elapsed = self.clock() - self.started
        left = elapsed / done * (total - done)
        if self.live:
            self._bar(f"{self._pace()}, {_clock_face(left)} left")
        elif not self.warned and elapsed > SURE and left > LONG:
            self.warned = True
            self.say(f"{self._pace()}, {_clock_face(left)} left")

    def say(self, line: str) -> None:
        """Print a line of its own; the bar is drawn again by the next update."""
        self.stream.write(f"{_ERASE if self.live else ''}{line}\n")
        self.stream.flush()

    def close(self) -> None:
        """End the line that was drawn, or print the last one."""
        if self.live and self.total:
            self.stream.write("\n")
        elif self.done:
            self.stream.write(f"{self._pace()}\n")
        self.stream.flush()

    def _bar(self, beside: str) -> None:
        filled = WIDTH * self.done // self.total
        bar = "#" * filled + "." * (WIDTH - filled)
        # What comes first erases what an earlier, longer line left behind.
        self.stream.write(f"{_ERASE}[{bar}] {beside}")
        self.stream.flush()

    def _pace(self) -> str:
        milliseconds = 1000.0 * (self.clock() - self.started) / self.done
        return f"{self.noun} {self.done}/{self.total}, {milliseconds:.0f} ms/{self.noun}"


def _clock_face(seconds: float) -> str:
    """Minutes and seconds, or hours, minutes and seconds."""
    minutes, second = divmod(round(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02d}:{second:02d}" if hour else f"{minute}:{second:02d}"
