"""Weights go to the original script, against a network written from its description alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from export.edge.errors import UserError
from tests.torch_ref.original_network import Held, Original, Script, assert_same, batch, convert, trained
from torch_ref.weights import load_bundle, save_bundle

Make = Callable[[str], Any]


@pytest.fixture(scope="module")
def script() -> Script:
    """A training of the original; don't change it."""
    return trained()


@pytest.fixture
def held(script: Script) -> Held:
    """A checkpoint of it, to be changed at will."""
    return copy.deepcopy(script.checkpoint())


def test_weights_trained_here_load_into_the_original(make_bundle: Make, tmp_path: Path) -> None:
    bundle_path, path = make_bundle("tanh"), tmp_path / "model.pth"
    convert(bundle_path, path)
    original = Script.resume(Original(8), path).model.eval()
    x_t, _, cond, _ = batch(0)
    t = torch.tensor([0, 40, 99])
    with torch.no_grad():
        wanted = original(x_t, t / 100, cond)
        torch.testing.assert_close(load_bundle(bundle_path).model(x_t, cond, t), wanted, rtol=0, atol=1e-6)
    assert wanted.std() > 1e-3


def test_without_moments_the_original_starts_afresh(
    script: Script, held: Held, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(held, tmp_path / "original.pth")
    convert(tmp_path / "original.pth", tmp_path / "model.safetensors")
    convert(tmp_path / "model.safetensors", tmp_path / "model.pth")
    assert "fresh AdamW, at epoch 0" in capsys.readouterr().out.splitlines()[-1]
    resumed = Script.resume(Original(8), tmp_path / "model.pth")
    fresh = Script.start(Original(8)).checkpoint()
    for name in ("optimizer_state_dict", "scheduler_state_dict", "epoch"):
        assert_same(resumed.checkpoint()[name], fresh[name], name)
    state = resumed.model.state_dict()
    for name, value in script.model.state_dict().items():
        assert "num_batches_tracked" in name or torch.equal(state[name], value), name
    # Nothing is in it that could be kept.
    convert(tmp_path / "model.pth", tmp_path / "again.safetensors")
    assert "note" not in capsys.readouterr().out
    with pytest.raises(UserError, match="no moments to keep; leave out --optimizer"):
        convert(tmp_path / "model.pth", tmp_path / "more.safetensors", "--optimizer", tmp_path / "o.safetensors")


def test_another_noise_schedule_comes_with_a_note(
    make_bundle: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    convert(make_bundle("tanh"), tmp_path / "model.pth")
    assert "another noise schedule than the original script's" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kind", "prediction", "message"),
    [
        ("seed", "eps", "squash what they predict; for the way back train with --model.output-activation tanh"),
        ("unet", "eps", "of the residual family"),
        ("affine", "x0", "of the residual family"),
        ("tanh", "x0", "predicts x0, which the original script would take for eps"),
    ],
)
def test_weights_that_the_original_would_misread_are_refused(
    kind: str,
    prediction: str,
    message: str,
    make_network: Make,
    make_config: Make,
    schedule: np.ndarray,
    tmp_path: Path,
) -> None:
    config = make_config(kind)
    config["diffusion"] |= {"prediction": prediction}
    save_bundle(tmp_path / "m.safetensors", make_network(kind).state_dict(), schedule, config)
    with pytest.raises(UserError, match=message):
        convert(tmp_path / "m.safetensors", tmp_path / "model.pth")
    assert [path.name for path in tmp_path.iterdir()] == ["m.safetensors"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model.onnx", "model.pth"], "cannot convert model.onnx to model.pth"),
        (["seed.safetensors", "model.pt"], "cannot convert"),
        (["seed.safetensors", "model.safetensors"], "cannot convert"),
        (["none.safetensors", "model.pth"], "does not exist"),
        (["none.pth", "model.safetensors"], "checkpoint .*none.pth does not exist"),
        (["broken.safetensors", "model.pth"], "is not a whole safetensors file"),
        (["seed.safetensors", "nowhere/model.pth"], "nowhere does not exist"),
        (["o.pth", "nowhere/m.safetensors"], "nowhere does not exist"),
        (["o.pth", "m.safetensors", "--optimizer", "nowhere/o.safetensors"], "nowhere does not exist"),
        (["o.pth", "m.safetensors", "--optimizer", "m.safetensors"], "must be a .safetensors of its own"),
        (["o.pth", "m.safetensors", "--optimizer", "o.bin"], "must be a .safetensors of its own"),
        (["o.pth", "m.safetensors", "--like", "o.pth"], "--like .* is for writing a .pth with --optimizer"),
        (["seed.safetensors", "m.pth", "--like", "o.pth"], "--like .* is for writing a .pth with --optimizer"),
    ],
)
def test_paths_that_cannot_be_used(
    words: list[str], message: str, make_bundle: Make, held: Held, tmp_path: Path
) -> None:
    make_bundle("seed")
    torch.save(held, tmp_path / "o.pth")
    (tmp_path / "broken.safetensors").write_bytes(b"no")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match=message):
        convert(*(word if word.startswith("--") else tmp_path / word for word in words))
    assert sorted(tmp_path.iterdir()) == before
