"""One process at a time trains in a run folder; the lock goes with its holder, however that ends."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from export.edge.disk.files import write_text
from export.edge.errors import UserError

LOCK = "train.lock"
HOLDER = "train.pid"
"""Who holds the lock, for people to read: a lock's own file may be emptied by whoever tries it."""


@contextmanager
def run_lock(run: Path) -> Iterator[None]:
    """Hold the lock of a run folder, which is made if need be; the same thread may take it again.

    Raises UserError, with the holder's process id, when another process trains there. The
    operating system takes the lock back when its holder ends, by kill -9 too.
    """
    run.mkdir(parents=True, exist_ok=True)
    lock = FileLock(str((run / LOCK).absolute()), is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"run {run} is being trained by process {_holder(run)} already; wait until it ends, or name another "
            "--output-dir"
        ) from None
    try:
        if lock.lock_counter == 1:
            write_text(run / HOLDER, f"{os.getpid()} on {socket.gethostname()}\n")
        yield
    finally:
        if lock.lock_counter == 1:
            (run / HOLDER).unlink(missing_ok=True)
        lock.release()


def _holder(run: Path) -> str:
    with suppress(OSError):
        return (run / HOLDER).read_text(encoding="utf-8", errors="replace").strip() or "of an unknown number"
    return "of an unknown number"
