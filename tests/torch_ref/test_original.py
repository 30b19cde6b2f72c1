"""Checkpoints of the original script come in: exactly, or not at all."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from export.edge.errors import UserError
from tests.torch_ref.original_network import Held, Script, batch, convert, trained
from torch_ref.weights import load_bundle

DAMAGED = r"is damaged, or not a file of torch\.save"


@pytest.fixture(scope="module")
def script() -> Script:
    """A training of the original; don't change it."""
    return trained()


@pytest.fixture
def held(script: Script) -> Held:
    """A checkpoint of it, to be changed at will."""
    return copy.deepcopy(script.checkpoint())


def test_a_checkpoint_comes_in_and_says_the_same(
    script: Script, held: Held, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(held, tmp_path / "original.pth")
    convert(tmp_path / "original.pth", tmp_path / "model.safetensors")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(str(tmp_path / "model.safetensors"))
    assert len(lines) == 2 and "moments stay behind" in lines[1]
    bundle = load_bundle(tmp_path / "model.safetensors")
    wanted = {"architecture": "seed", "width": 8, "output_activation": "tanh", "compute_dtype": "float32"}
    assert bundle.config["model"] == wanted
    assert bundle.alphas_cumprod.shape == (1000,)
    x_t, t, cond, _ = batch(9, 24, 40)
    original = copy.deepcopy(script.model).eval()
    with torch.no_grad():
        wanted = original(x_t, t / 1000, cond)
        torch.testing.assert_close(bundle.model(x_t, cond, t), wanted, rtol=0, atol=1e-6)
    assert wanted.std() > 1e-3


@pytest.mark.parametrize(
    ("prefix", "bare"),
    [("module.", False), ("_orig_mod.", True), ("module._orig_mod.", True), ("_orig_mod.module.", False), ("", True)],
)
def test_wrappers_and_bare_state_dicts(prefix: str, bare: bool, held: Held, tmp_path: Path) -> None:
    torch.save(held, tmp_path / "plain.pth")
    held["model_state_dict"] = {prefix + name: value for name, value in held["model_state_dict"].items()}
    torch.save(held["model_state_dict"] if bare else held, tmp_path / "wrapped.pth")
    for name in ("plain", "wrapped"):
        convert(tmp_path / f"{name}.pth", tmp_path / f"{name}.safetensors")
    digests = {load_bundle(tmp_path / f"{name}.safetensors").weights_digest for name in ("plain", "wrapped")}
    assert len(digests) == 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_precisions_become_float32_with_a_note(
    dtype: torch.dtype, held: Held, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = held["model_state_dict"]
    state = {name: value.to(dtype) if value.is_floating_point() else value for name, value in state.items()}
    torch.save(state, tmp_path / "other.pth")
    convert(tmp_path / "other.pth", tmp_path / "model.safetensors")
    assert f"note: its {str(dtype).removeprefix('torch.')} weights" in capsys.readouterr().out
    back = load_bundle(tmp_path / "model.safetensors").model.state_dict()
    for name, value in state.items():
        if value.is_floating_point():
            assert torch.equal(back[name], value.float()), name


class Touch:
    """What a pickle would run: make an empty file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_code_in_a_checkpoint_is_refused_and_not_run(new: bool, held: Held, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    held["loss"] = Touch(trap)
    torch.save(held, tmp_path / "evil.pth", _use_new_zipfile_serialization=new)
    with pytest.raises(UserError, match=r"holds \w+\.mkdir, which is code and not weights, so it was not opened"):
        convert(tmp_path / "evil.pth", tmp_path / "model.safetensors")
    assert not trap.exists() and not (tmp_path / "model.safetensors").exists()
    torch.load(tmp_path / "evil.pth", weights_only=False)
    assert trap.exists(), "it would not have run anyway"


def of(name: str, value: object) -> Callable[[Held], None]:
    """Put `value` in the place of a weight, or take the weight out for None."""

    def change(held: Held) -> None:
        if value is None:
            del held["model_state_dict"][name]
        else:
            held["model_state_dict"][name] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (of("inc.0.weight", None), "lacks the script's first convolution, inc.0.weight"),
        (of("inc.0.weight", torch.zeros(1 << 20, 1, 1, 1)), "lacks the script's first convolution"),
        (of("inc.0.weight", torch.zeros(8, 5, 3, 3)), r"inc.0.weight has the shape \(8, 5, 3, 3\), expected \(8, 6, 3"),
        (of("outc.0.bias", None), "lacks outc.0.bias; is it of another network"),
        (of("attention.weight", torch.zeros(3)), "has also attention.weight"),
        (of("outc.0.bias", torch.zeros(4)), r"outc.0.bias has the shape \(4,\), expected \(3,\)"),
        (of("outc.0.bias", torch.full((3,), math.nan)), "outc.0.bias is not finite"),
        (of("outc.0.bias", torch.full((3,), 1e300, dtype=torch.float64)), "outc.0.bias is not finite"),
        (of("outc.0.bias", torch.zeros(3, dtype=torch.int8)), "outc.0.bias is torch.int8"),
        (of("outc.0.bias", torch.zeros(3, dtype=torch.complex64)), "outc.0.bias is torch.complex64"),
        (of("outc.0.bias", torch.zeros(3).to_sparse()), "outc.0.bias is no plain tensor"),
        (of("outc.0.bias", torch.zeros(3, device="meta")), "outc.0.bias is no plain tensor"),
        (of("outc.0.bias", [0.0, 0.0, 0.0]), "outc.0.bias is no plain tensor"),
        (of("inc.1.running_var", torch.full((8,), -1.0)), "inc.1.running_var is negative"),
        (lambda held: held.pop("model_state_dict"), "neither a model_state_dict nor"),
        (lambda held: held.update(model_state_dict={}), "lacks the script's first convolution"),
        (lambda held: held.update(model_state_dict=[1]), "neither a model_state_dict nor"),
        (lambda held: held.clear(), "neither a model_state_dict nor"),
        (lambda held: held.update(loss=np.float64(1.0)), r"holds numpy\S+scalar, .* plain numbers again"),
    ],
)
def test_checkpoints_that_do_not_fill_the_network(
    change: Callable[[Held], object], message: str, held: Held, tmp_path: Path
) -> None:
    del held["optimizer_state_dict"]
    change(held)
    torch.save(held, tmp_path / "bad.pth")
    with pytest.raises(UserError, match=f"checkpoint {tmp_path / 'bad.pth'}.*{message}"):
        convert(tmp_path / "bad.pth", tmp_path / "model.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.pth"]


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.999])
def test_a_truncated_checkpoint(keep: float, held: Held, tmp_path: Path) -> None:
    torch.save(held, tmp_path / "bad.pth")
    data = (tmp_path / "bad.pth").read_bytes()
    (tmp_path / "bad.pth").write_bytes(data[: int(len(data) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(UserError, match=DAMAGED):
        convert(tmp_path / "bad.pth", tmp_path / "model.safetensors")


def test_a_flipped_bit_in_a_weight(held: Held, tmp_path: Path) -> None:
    torch.save(held, tmp_path / "bad.pth")
    data = bytearray((tmp_path / "bad.pth").read_bytes())
    place = data.find(held["model_state_dict"]["outc.0.bias"].numpy().tobytes())
    assert place > 0
    data[place] ^= 1
    (tmp_path / "bad.pth").write_bytes(data)
    with pytest.raises(UserError, match=DAMAGED):
        convert(tmp_path / "bad.pth", tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    "data",
    [b"weights, honestly", b"\x89PNG\r\n\x1a\n" + bytes(64), b"\x80\x05K\x01."],
    ids=["words", "picture", "number"],
)
def test_files_that_are_no_checkpoints(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad.pth").write_bytes(data)
    with pytest.raises(UserError, match=DAMAGED):
        convert(tmp_path / "bad.pth", tmp_path / "model.safetensors")


def test_a_whole_model_is_refused_by_name(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "module.pth")
    with pytest.raises(UserError, match=r"holds torch\.nn\.modules\.linear\.Linear, which is code"):
        convert(tmp_path / "module.pth", tmp_path / "model.safetensors")
