"""One process trains in a folder, and its lock dies with it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from export.edge.errors import UserError
from jax_impl.training.lock import HOLDER, run_lock

HOLD = """
import sys, time
from pathlib import Path
from jax_impl.training.lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process, which holds the lock of `tmp_path / "run"`."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_by_the_number_of_the_first_until_that_is_killed(
    other: subprocess.Popen[str], tmp_path: Path
) -> None:
    for _ in range(2):
        with pytest.raises(UserError, match=rf"by process {other.pid} on "), run_lock(tmp_path / "run"):
            pytest.fail("the lock was given twice")
    other.kill()
    other.wait()
    with run_lock(tmp_path / "run"):
        assert (tmp_path / "run" / HOLDER).exists()
    assert not (tmp_path / "run" / HOLDER).exists()


def test_its_holder_may_claim_it_again(tmp_path: Path) -> None:
    with run_lock(tmp_path / "run"):
        with run_lock(tmp_path / "run"):
            pass
        assert (tmp_path / "run" / HOLDER).exists()
