"""What whole paths share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.sharing.graphs import shared_graphs
from tests.sharing.steps import shared_steps


@pytest.fixture(scope="package", autouse=True)
def _traced_once(once: Callable[..., Path]) -> Iterator[None]:
    """Trainings with the same settings and exports of the same network are traced once."""
    with shared_steps(), shared_graphs(once):
        yield
