"""The bundle that training leaves: the one that the command makes, of the step at which training ended."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from jax_impl import bundle
from jax_impl.config.tree import Config
from jax_impl.data.loader import load
from jax_impl.train import train
from jax_impl.training import feed as feed_module
from jax_impl.training.mesh import brought_here


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors and the metadata of a bundle; the file has the latter in no order."""
    with safe_open(path, framework="numpy") as file:
        return load_file(path), file.metadata()


def training_of(path: Path) -> dict[str, int]:
    return json.loads(read(path)[1]["training"])


@pytest.mark.parametrize("kind", ["trained_run", "trained_seed_run"], ids=["averages", "averages and statistics"])
def test_a_finished_run_leaves_what_the_command_bundles(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    run = request.getfixturevalue(kind)
    bundle.main(["--run", str(run), "--output", str(tmp_path / "model.safetensors")])
    left, made = read(run / "model.safetensors"), read(tmp_path / "model.safetensors")
    assert left[1] == made[1]
    assert left[0].keys() == made[0].keys()
    assert all(np.array_equal(left[0][name], made[0][name]) for name in made[0])
    # Two epochs of three steps with two pairs each.
    assert training_of(run / "model.safetensors") == {"steps": 6, "planned": 6, "pictures": 12}


def test_a_stopped_run_leaves_the_weights_of_its_last_step(
    small_config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    config, run, calls = small_config(), tmp_path / "run", 0
    batch_indices = feed_module.batch_indices

    def signalling(*args: int) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls == 4:
            (run / "model.safetensors").mkdir()  # It cannot be written then.
            os.kill(os.getpid(), signal.SIGTERM)
        return batch_indices(*args)

    monkeypatch.setattr(feed_module, "batch_indices", signalling)
    assert train(config, run, load(config.data, "train"), load(config.data, "val")) == signal.SIGTERM
    (warning,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert "model.safetensors was not written" in warning and "python -m jax_impl.bundle" in warning
    (run / "model.safetensors").rmdir()
    monkeypatch.undo()
    bundle.main(["--run", str(run), "--output", str(run / "model.safetensors")])
    assert training_of(run / "model.safetensors") == {"steps": 4, "planned": 6, "pictures": 8}


def test_a_state_with_a_key_is_brought_to_one_process() -> None:
    key = jax.random.key(7)
    assert (jax.random.key_data(brought_here(key)) == jax.random.key_data(key)).all()  # type: ignore[arg-type]
    assert isinstance(brought_here(jax.numpy.ones(3)), np.ndarray)
