"""The same briefly trained weights in JAX, PyTorch and onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.parity.subject import Subject, from_bundle, from_preset


@pytest.fixture(scope="session", params=["seed", "tiny"])
def subject(request: pytest.FixtureRequest, once: Callable[..., Path]) -> Subject:
    """The presets' networks, narrow, trained for a few seconds on the built-in scenes; once for all workers.

    `base`, which no test of the levels that draw asks for, stays as torch makes it: nothing of it is zero.
    """
    steps = 0 if request.param == "base" else None
    folder = once(f"parity_{request.param}", lambda folder: from_preset(request.param, folder, steps))
    return from_bundle(folder / "model.safetensors", folder)
