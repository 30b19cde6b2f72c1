"""A run whose process is killed or stopped goes on in a fresh one as if nothing had happened."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

from tests.faults.conftest import EPOCHS
from tests.faults.kills import Campaign, kill_often, kill_once, logged, rows
from tests.faults.processes import STEPS_PER_EPOCH, committed, train


def test_killed_in_a_save_and_stopped_in_another_time(unbroken: Campaign, tmp_path: Path) -> None:
    """The clock is three days ahead from the first commit on, as far as the second process can see."""
    assert committed(unbroken.unbroken) == {STEPS_PER_EPOCH * n for n in range(1, EPOCHS + 1)}
    run, rng = tmp_path / "run", random.Random(0)
    assert kill_once(unbroken, run, "save", rng)

    commit = run / "model_checkpoints" / f"step_{STEPS_PER_EPOCH:08d}.json"
    process = train(run, unbroken.words, {"FAULT_CLOCK": f"259200:{commit}"})
    size = logged(run)
    process.wait_until(lambda: logged(run) > size)
    ended = process.send(signal.SIGTERM)
    assert ended.complaint(128 + signal.SIGTERM) is None
    assert "--resume" in ended.out
    assert committed(run), "what was done is saved"

    kill_often(unbroken, run, 0, rng)
    wrong = [row for row in rows(unbroken) if row.wrong]
    assert not wrong
    assert unbroken.runs == 1
    assert unbroken.commits >= EPOCHS


@pytest.mark.slow  # Two processes; tests/jax_impl/test_train.py shows the same after a crash within one.
def test_killed_before_the_first_checkpoint(unbroken: Campaign, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = train(run, unbroken.words)
    process.wait_until(lambda: logged(run))
    process.send(signal.SIGKILL)
    assert logged(run)
    kill_often(unbroken, run, 0, random.Random(0))
    assert not [row for row in rows(unbroken) if row.wrong]
