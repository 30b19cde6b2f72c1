"""A child process that is spoken to in lines of JSON."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class GoneError(Exception):
    """The child cannot go on; the message says why in a line."""


class Child:
    """`python -m MODULE JOB.json`, answering each line with a line; a context that ends it."""

    def __init__(
        self, module: str, job: Mapping[str, Any], path: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        """`path`: where the job is written; `environment`: variables beside this process's own."""
        path.write_text(json.dumps(job), encoding="utf-8")
        self._complaints = path.with_suffix(".log")
        # Several processes share a GPU here: none may take all of its memory beforehand.
        environment = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false", **(environment or {})}
        command = [sys.executable, "-m", module, str(path)]
        with self._complaints.open("wb") as complaints:
            self._process = subprocess.Popen(
                command, env=environment, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints,
            )  # fmt: skip

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
            said = self._complaints.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
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
