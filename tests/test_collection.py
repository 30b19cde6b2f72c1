"""Another collection finds the same tests: pytest-xdist starts none where its workers disagree."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.slow  # Imports everything again; pytest-xdist compares what its workers collect in every run.
def test_another_collection_finds_the_tests_of_this_one(request: pytest.FixtureRequest) -> None:
    """At another time of day, by other hashes of strings; compared with what this process has collected."""
    here, config = [item.nodeid for item in request.session.items], request.config
    command = [sys.executable, "-m", "pytest", "--collect-only", "--quiet", "-m", "", *config.args]
    environment, folder = {**os.environ, "PYTHONHASHSEED": "1"}, config.invocation_params.dir
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    chosen = set(here)
    # There also those that `-m` or `-k` has left out here.
    assert [name for name in done.stdout.splitlines() if name in chosen] == here
