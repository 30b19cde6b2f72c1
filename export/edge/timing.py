"""Timing side by side: processes that answer in lines of JSON, and rounds in which all of them take turns.

A child is `python -m MODULE JOB.json`. Its first line says what it is (its facts); then it answers each line that it is
sent with one line. A line {"error": …} is its last.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

_OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED", "out of memory", "not enough memory", "can't allocate memory")
"""What JAX, CUDA and the allocator of PyTorch on a CPU say; the last has no exception class of its own."""


class GoneError(Exception):
    """The child cannot go on; the message says why in a line."""


class Child:
    """A child process; a context that ends it."""

    def __init__(
        self,
        module: str,
        job: Mapping[str, Any],
        environment: Mapping[str, str] | None = None,
        *,
        wait: bool = False,
    ) -> None:
        """`environment`: variables in addition to those of this process. With `wait` it waits for `begin`."""
        self._folder = tempfile.TemporaryDirectory()
        path, self._stderr = (Path(self._folder.name) / name for name in ("job.json", "stderr"))
        path.write_text(json.dumps({**job, "wait": wait}), encoding="utf-8")
        self._waits = wait
        with self._stderr.open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, str(path)], env={**os.environ, **(environment or {})}, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr,
            )  # fmt: skip

    def begin(self) -> None:
        """Let a child that waits begin; nothing, where it does not wait or has ended."""
        stdin = self._process.stdin
        assert stdin is not None
        if self._waits:
            self._waits = False
            with contextlib.suppress(BrokenPipeError):
                stdin.write("\n")
                stdin.flush()

    def ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Its answer to an order. Raises GoneError."""
        stdin = self._process.stdin
        assert stdin is not None
        # Where it has ended, what it said last tells why.
        with contextlib.suppress(BrokenPipeError):
            stdin.write(json.dumps(order) + "\n")
            stdin.flush()
        return self.hear()

    def hear(self) -> dict[str, Any]:
        """Its next line. Raises GoneError where that is an error, or where it has ended."""
        stdout = self._process.stdout
        assert stdout is not None
        line = stdout.readline()
        if not line:
            status = self._process.wait()
            said = self._stderr.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
            # A system that runs out of memory kills; a compiler or allocator says so in its own words.
            killed = status == -9
            raise GoneError("out of memory" if killed else said[-1])
        answer = json.loads(line)
        if "error" in answer:
            raise GoneError(answer["error"])
        return answer

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *error: object) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()


class Served(Protocol):
    """What is timed, on the child's side; made from a job."""

    facts: dict[str, Any]

    def answer(self, order: Mapping[str, Any]) -> Mapping[str, Any]:
        """The answer to one order, as JSON can hold it."""
        ...


def serve(make: Callable[[Mapping[str, Any]], Served], argv: Sequence[str] | None = None) -> None:
    """The child's side: make the subject of the job, say its facts, and answer standard input until it ends."""
    (path,) = sys.argv[1:] if argv is None else argv
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    if job.pop("wait", False):
        sys.stdin.readline()
    try:
        subject = make(job)
        _say(subject.facts)
        for line in sys.stdin:
            _say(subject.answer(json.loads(line)))
    except (MemoryError, RuntimeError) as error:
        full = isinstance(error, MemoryError) or any(said in str(error) for said in _OUT_OF_MEMORY)
        _say({"error": "out of memory" if full else str(error).strip().splitlines()[0]})


def _say(answer: Mapping[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


@dataclass(kw_only=True)
class Entrant:
    """One thing that is timed."""

    error: str | None = None
    """Why it could not go on."""


One = TypeVar("One", bound=Entrant)


def take_turns(
    entrants: Sequence[One],
    rounds: int,
    turn: Callable[[One, int], object],
    on_turn: Callable[[int, int], object] = lambda done, total: None,
) -> None:
    """Call `turn(entrant, round)` for all, round by round, so that a busy moment of the machine hits all alike.

    An entrant that raises GoneError keeps the message as its `error` and has no more turns. `on_turn(done, total)` is
    called before the first turn and after each.
    """
    total, done = rounds * len(entrants), 0
    on_turn(done, total)
    for number in range(rounds):
        for one in entrants:
            if one.error is None:
                try:
                    turn(one, number)
                except GoneError as gone:
                    one.error = str(gone)
            done += 1
            on_turn(done, total)


_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


class Counted(Generic[_Given, _Result]):
    """A function, with the number of its calls and the seconds spent in it."""

    def __init__(self, function: Callable[_Given, _Result]) -> None:
        self.function = function
        self.calls = 0
        self.seconds = 0.0

    def __call__(self, *args: _Given.args, **kwargs: _Given.kwargs) -> _Result:
        began = time.perf_counter()
        result = self.function(*args, **kwargs)
        self.seconds += time.perf_counter() - began
        self.calls += 1
        return result
