"""A child process that is spoken to in lines of JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Gone(Exception):
    """The child cannot go on; the message says why in a line."""


class Child:
    """`python -m MODULE JOB.json`, answering each line with a line; a context that ends it."""

    def __init__(self, module: str, job: Mapping[str, Any], path: Path) -> None:
        path.write_text(json.dumps(job), encoding="utf-8")
        self._complaints = tempfile.TemporaryFile("w+")
        # Several processes share a GPU here: none may take all of its memory beforehand.
        environment = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, str(path)], env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._complaints,
        )  # fmt: skip

    def ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Its answer to an order. Raises Gone."""
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(json.dumps(order) + "\n")
            stdin.flush()
        except BrokenPipeError:
            pass  # What it said last tells why.
        return self.hear()

    def hear(self) -> dict[str, Any]:
        """Its next line. Raises Gone where that is an error, or where it has ended."""
        stdout = self._process.stdout
        assert stdout is not None
        line = stdout.readline()
        if not line:
            status = self._process.wait()
            self._complaints.seek(0)
            said = self._complaints.read().strip().splitlines() or ["it said nothing"]
            # A system that runs out of memory kills; a compiler or allocator says so in its own words.
            killed = status == -9
            raise Gone("out of memory" if killed else said[-1])
        answer = json.loads(line)
        if "error" in answer:
            raise Gone(answer["error"])
        return answer

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *error: object) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._complaints.close()
