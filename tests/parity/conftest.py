"""The same briefly trained weights in JAX, PyTorch and onnxruntime."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from export.edge.disk.files import atomic_file
from tests.parity.subject import Subject, from_bundle, from_preset


@pytest.fixture(scope="session", params=["seed", "tiny"])
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """The presets' networks, narrow, trained for a few seconds on the built-in scenes; once for all workers.

    `base`, which no test of the levels that draw asks for, stays as torch makes it: nothing of it is zero.
    """
    steps = 0 if request.param == "base" else None
    folder = tmp_path_factory.mktemp(f"parity_{request.param}")
    bundle = folder / "model.safetensors"
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return from_preset(request.param, folder, steps)
    shared = tmp_path_factory.getbasetemp().parent / f"parity_{request.param}"
    try:
        shared.mkdir()
    except FileExistsError:
        shutil.copyfile(_when_there(shared / bundle.name), bundle)
        return from_bundle(bundle, folder)
    trained = from_preset(request.param, folder, steps)
    with atomic_file(shared / bundle.name) as temporary:
        shutil.copyfile(bundle, temporary)
    return trained


def _when_there(path: Path) -> Path:
    """`path`, once the worker that makes it has finished."""
    deadline = time.monotonic() + 600
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path} was never written: training failed in another worker")
        time.sleep(0.5)
    return path
