"""TensorBoard event files, written without a thread, so that what a crash or a full disk leaves is known."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np

from export.edge.errors import UserError


class Board:
    """One event file for each process that trains; TensorBoard drops what earlier ones wrote from `first` on.

    Raises OSError where a file cannot be written.
    """

    def __init__(self, folder: Path, first: int) -> None:
        writers, self._events, self._summaries = library()
        folder.mkdir(parents=True, exist_ok=True)
        self._writer = writers.EventsWriter(str(folder / "events"))
        start = self._events.SessionLog(status=self._events.SessionLog.START)
        self._writer.write_event(self._events.Event(wall_time=time.time(), step=first, session_log=start))

    def write(self, step: int, record: dict[str, float]) -> None:
        """Add one point to the curve of each figure."""
        for name, value in record.items():
            summary = self._summaries.scalar(name, value)
            self._writer.write_event(self._events.Event(wall_time=time.time(), step=step, summary=summary))

    def show(self, step: int, name: str, picture: np.ndarray) -> None:
        """Add one picture, uint8 (height, width, 3)."""
        summary = self._summaries.image(name, picture, dataformats="HWC")
        self._writer.write_event(self._events.Event(wall_time=time.time(), step=step, summary=summary))

    def flush(self) -> None:
        """Bring what was written to disk."""
        self._writer.flush()

    def close(self) -> None:
        """Flush and close the file."""
        self._writer.close()


def library() -> tuple[ModuleType, ModuleType, ModuleType]:
    """tensorboardX's writers, event messages and summaries, without torch.

    tensorboardX imports torch wherever it is installed, for tensors that are never
    handed to it here. None in sys.modules makes that import fail, as it would on a
    machine without torch. Raises UserError where tensorboardX is not installed.
    """
    absent = "torch" not in sys.modules
    if absent:
        sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        from tensorboardX import event_file_writer, summary
        from tensorboardX.proto import event_pb2
    except ImportError as error:
        raise UserError(
            f"train.tensorboard needs {error.name or error}; `pip install tensorboardX`, or leave it out"
        ) from None
    finally:
        if absent:
            del sys.modules["torch"]
    return event_file_writer, event_pb2, summary
