"""Every collection finds the same tests: pytest-xdist starts none where its workers disagree."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

SECONDS_APART = 2
"""More than one second: a name with the time of day in it then differs."""


def collected(root: Path, hash_seed: int) -> list[str]:
    """The names that one process collects, in order."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "--quiet", "-m", ""]
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return [line for line in done.stdout.splitlines() if "::" in line]


def test_two_collections_find_the_same_tests(root: Path) -> None:
    first = collected(root, 1)
    time.sleep(SECONDS_APART)
    assert len(first) > 1000
    assert collected(root, 2) == first
