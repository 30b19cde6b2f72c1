"""Another collection finds the same tests: pytest-xdist starts none where its workers disagree."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def test_another_collection_finds_the_tests_of_this_one(root: Path, request: pytest.FixtureRequest) -> None:
    """At another time of day, by other hashes of strings; compared with what this process has collected."""
    here = [item.nodeid for item in request.session.items]
    command = [sys.executable, "-m", "pytest", "--collect-only", "--quiet", "-m", ""]
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    there = [line for line in done.stdout.splitlines() if "::" in line]
    assert len(there) > 1000
    chosen = set(here)
    assert [name for name in there if name in chosen] == here
