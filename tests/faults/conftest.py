"""What the short campaigns share: one unbroken run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.kills import Campaign, begin

EPOCHS = 5


@pytest.fixture(scope="session")
def unbroken(once: Callable[..., Path]) -> Campaign:
    """A finished run that no one disturbed, for all workers, and nothing tried yet."""
    if os.name != "posix":
        pytest.skip("SIGKILL is a POSIX signal")

    def train(folder: Path) -> None:
        begun = begin(folder, EPOCHS, warm=False)
        (folder / "times.json").write_text(json.dumps([begun.words, begun.startup, begun.epoch]))

    folder = once("faults_unbroken", train)
    return Campaign(folder / "unbroken", *json.loads((folder / "times.json").read_text()))
