"""Runs cases one after the other within a time limit, and keeps what each found on disk at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from export.edge.disk.files import write_json
from tests.figures.accelerator.cases import FOLDER, Case

ROOT = Path(__file__).resolve().parents[3]
RECORD = "accelerator.json"
"""In the output folder: what is known of every case, by name."""
SHARED = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "PYTHONUNBUFFERED": "1"}
SHORTEST = 15.0
"""Seconds that must be left for a case to begin."""
STOPPED = threading.Event()
"""Set by a signal. What has begun is then ended, at a place where every process that was started is known."""
POLL = 0.2
"""Seconds between two looks at STOPPED."""
DONE = ("measured", "failed")
"""Cases that a second call does not run again."""

Record = dict[str, dict[str, Any]]


def read_record(folder: Path) -> Record:
    """What earlier calls left in `folder`; nothing where it holds no record."""
    path = folder / RECORD
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def run_cases(cases: Sequence[Case], folder: Path, seconds: float, say: Callable[[str], object] = print) -> Record:
    """Run every case that `folder` has no outcome of, in order, as long as there is time; returns the record.

    A case that fails, or reaches its own limit, is recorded and the next one begins. One that the end of the time cuts
    off is run again by a later call. The record on disk is whole at any moment.
    """
    record, deadline = read_record(folder), time.monotonic() + seconds
    for group in groups([case for case in cases if record.get(case.name, {}).get("status") not in DONE]):
        left = deadline - time.monotonic()
        if left < min(SHORTEST, *(case.limit for case in group)):
            say(f"left out for want of time: {', '.join(case.name for case in group)}")
            continue
        for case, outcome in run_group(group, folder, left):
            record[case.name] = outcome
            write_json(folder / RECORD, record)
            say(f"{case.name}: {outcome['status']}, {outcome['seconds']:.0f} s{outcome.get('said', '')}")
    return record


def groups(cases: Sequence[Case]) -> list[list[Case]]:
    """Cases that run at the same time, in order."""
    found = [[case] for case in cases[:1]]
    for before, case in pairwise(cases):
        if case.together and case.name.split("/")[0] == before.name.split("/")[0]:
            found[-1].append(case)
        else:
            found.append([case])
    return found


def run_group(group: Sequence[Case], folder: Path, left: float) -> Iterator[tuple[Case, dict[str, Any]]]:
    """Run cases at the same time; yields each outcome as it is there. None outlives the generator."""
    began, running = time.monotonic(), [(case, _start(case, folder)) for case in group]
    try:
        for case, process in running:
            ends = began + min(case.limit, left)
            status, said = "measured", ""
            try:
                if wait(process, ends - time.monotonic()):
                    status, said = "failed", f" ({_last_line(folder / case.name / 'log')})"
            except subprocess.TimeoutExpired:
                _end(process)
                status = "failed" if case.limit <= left else "cut off"
                said = f" (over its limit of {case.limit:.0f} s)" if status == "failed" else ""
            yield case, _outcome(case, folder, status, time.monotonic() - began, said)
    finally:
        for _, process in running:
            _end(process)


def wait(process: subprocess.Popen[bytes], seconds: float) -> int:
    """Exit status of a process. Raises TimeoutExpired, and SystemExit where this one is asked to end."""
    ends = time.monotonic() + seconds
    while True:
        if STOPPED.is_set():
            raise SystemExit(128 + signal.SIGTERM)
        try:
            return process.wait(max(0.0, min(POLL, ends - time.monotonic())))
        except subprocess.TimeoutExpired:
            if time.monotonic() >= ends:
                raise


def _start(case: Case, folder: Path) -> subprocess.Popen[bytes]:
    place = folder / case.name
    place.mkdir(parents=True, exist_ok=True)
    (place / case.result).unlink(missing_ok=True)
    environment = {**os.environ, **SHARED, **case.environment}
    environment["XLA_FLAGS"] = " ".join(filter(None, (os.environ.get("XLA_FLAGS"), case.environment.get("XLA_FLAGS"))))
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    with (place / "log").open("wb") as log:
        # In a session of its own, so that what it started ends with it.
        return subprocess.Popen(
            [sys.executable, "-m", *command(case, folder)], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
            stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


def command(case: Case, folder: Path) -> list[str]:
    """The words of a case, with its folder in place."""
    return [word.replace(FOLDER, str(folder / case.name)) for word in case.words]


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _outcome(case: Case, folder: Path, status: str, seconds: float, said: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "status": status,
        "seconds": seconds,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "command": " ".join(["python -m", *(word.replace(FOLDER, case.name) for word in case.words)]),
        "environment": dict(case.environment),
    }
    result = folder / case.name / case.result
    # Also of a case that was ended: what it had found by then.
    with suppress(OSError, ValueError):
        found["result"] = json.loads(result.read_text(encoding="utf-8"))
    if said:
        found["said"] = said
    return found


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
    return lines[-1][:300]


def by_status(record: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """How many cases have each status."""
    found: dict[str, int] = {}
    for outcome in record.values():
        found[outcome["status"]] = found.get(outcome["status"], 0) + 1
    return found
