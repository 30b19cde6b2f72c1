"""What care costs: the seconds that digests, checks and manifests take, summed by the program itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from export.edge.disk.files import write_json

OVERHEAD = "overhead.json"

Kind = Literal["digests", "read-back", "manifests", "saving"]
CARE: tuple[Kind, ...] = ("digests", "read-back", "manifests")
"""What protects against damage; `saving`, the copy to the host and what orbax writes, is what any trainer pays."""


class Overhead:
    """Wall-clock seconds by kind, since this process began; any thread may add to them.

    Work in the background counts in full, although the steps go on beside it.
    """

    def __init__(self) -> None:
        self._seconds: dict[Kind, float] = dict.fromkeys((*CARE, "saving"), 0.0)
        self._lock = threading.Lock()

    @contextmanager
    def measure(self, kind: Kind) -> Iterator[None]:
        """Add the time spent inside to `kind`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - started
            with self._lock:
                self._seconds[kind] += spent

    def seconds(self) -> dict[Kind, float]:
        """Seconds by kind so far."""
        with self._lock:
            return dict(self._seconds)

    def care(self) -> float:
        """Seconds spent on care so far, all kinds of it."""
        seconds = self.seconds()
        return sum(seconds[kind] for kind in CARE)

    def line(self, training: float) -> str:
        """The sum in one line, as a share of the `training` seconds where these are more."""
        share = f"{100.0 * self.care() / training:.2f} % of " if 0.0 < self.care() <= training else "in "
        return (
            f"digests, read-back and manifests: {self.care():.2f} s, {share}{training:.1f} s of training (those in the "
            f"background included); saving itself: {self.seconds()['saving']:.2f} s"
        )

    def write(self, run: Path, training: float) -> None:
        """Write overhead.json: seconds by kind, their sum, and its share of the `training` seconds of this process."""
        seconds = self.seconds()
        write_json(
            run / OVERHEAD,
            {
                "training_seconds": training,
                "care_seconds": self.care(),
                "care_share": self.care() / training if training > 0 else 0.0,
                "care": {kind: seconds[kind] for kind in CARE},
                "saving_seconds": seconds["saving"],
            },
        )
