"""What the short campaigns share: one unbroken run."""

from __future__ import annotations

import os

import pytest

from tests.faults.kills import Campaign, begin

EPOCHS = 5


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """A finished run that no one disturbed, and nothing tried yet."""
    if os.name != "posix":
        pytest.skip("SIGKILL is a POSIX signal")
    return begin(tmp_path_factory.mktemp("unbroken"), EPOCHS, warm=False)
