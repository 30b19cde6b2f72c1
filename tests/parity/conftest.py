"""The same briefly trained weights in JAX, PyTorch and onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.parity.subject import Subject, from_bundle, from_preset
from tests.sharing.graphs import shared_graphs

TRAINED = ["seed", "tiny"]
SLOW_FOR_TINY = [pytest.param("seed"), pytest.param("tiny", marks=pytest.mark.slow)]
"""For long levels, of which both networks show the same."""


@pytest.fixture(scope="package", autouse=True)
def _traced_once(once: Callable[..., Path]) -> Iterator[None]:
    with shared_graphs(once):
        yield


@pytest.fixture(scope="session", params=TRAINED)
def subject(request: pytest.FixtureRequest, once: Callable[..., Path]) -> Subject:
    """The presets' networks, narrow, trained for a few seconds on the built-in scenes; once for all workers.

    Other presets, which no test of the levels that draw asks for, stay as torch makes them: nothing of them is zero.
    """
    steps = None if request.param in TRAINED else 0
    folder = once(f"parity_{request.param}", lambda folder: from_preset(request.param, folder, steps))
    return from_bundle(folder / "model.safetensors", folder)
