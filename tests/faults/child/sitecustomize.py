"""Read at start by every Python process with this folder on its PYTHONPATH: faults that strike from inside.

FAULT_CLOCK=SECONDS:PATH   time.time() is SECONDS off as soon as PATH exists
FAULT_KILL=N:FOLDER:COUNT  SIGKILL just before the Nth call that changes FOLDER; how many there were goes to COUNT
"""

from __future__ import annotations

import os
import signal
import sys
import time

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def shift_clock(seconds: float, path: str) -> None:
    """Let the clock jump once, when `path` is there."""
    true_time, true_time_ns = time.time, time.time_ns
    jumped = False

    def offset() -> float:
        nonlocal jumped
        jumped = jumped or os.path.exists(path)
        return seconds if jumped else 0.0

    time.time = lambda: true_time() + offset()
    time.time_ns = lambda: true_time_ns() + int(offset() * 1e9)


def die_at(call: int, folder: str, count: str) -> None:
    """Watch the calls that change `folder`. Writes made by other languages' libraries pass unseen."""
    seen = 0

    def watch(event: str, values: tuple) -> None:
        nonlocal seen
        if event == "open":
            changing = isinstance(values[2], int) and values[2] & WRITING
        else:
            changing = event in CHANGES
        if not changing or not any(isinstance(v, str | os.PathLike) and inside(v) for v in values[:2]):
            return
        seen += 1
        if seen == call:
            os.kill(os.getpid(), signal.SIGKILL)
        descriptor = os.open(count, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.write(descriptor, str(seen).encode())
        os.close(descriptor)

    def inside(path: str | os.PathLike) -> bool:
        return os.fspath(path).startswith(folder)

    sys.addaudithook(watch)


if "FAULT_CLOCK" in os.environ:
    _seconds, _, _path = os.environ["FAULT_CLOCK"].partition(":")
    shift_clock(float(_seconds), _path)
if "FAULT_KILL" in os.environ:
    _call, _folder, _count = os.environ["FAULT_KILL"].split(":")
    die_at(int(_call), _folder, _count)
