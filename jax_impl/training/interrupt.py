"""Ctrl-C and SIGTERM as a wish that is granted between two steps."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from types import FrameType, TracebackType


class StopSignal:
    """While entered, the first SIGINT or SIGTERM only sets `requested` and says so; a second one ends the process.

    It ends at once, by the operating system's own doing, as with kill -9: a KeyboardInterrupt
    would wait for the thread that writes a checkpoint.

    Outside the main thread, where Python takes no signal handlers, it does nothing.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.number = 0
        """The signal that came, or 0."""
        self._before: dict[signal.Signals, object] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self.number != 0

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in self.SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        for other in self.SIGNALS:
            signal.signal(other, signal.SIG_DFL)
        # Not print: a handler may run in the middle of one.
        with suppress(OSError):
            os.write(2, b"\nfinishing this step, then saving; again to stop at once\n")
