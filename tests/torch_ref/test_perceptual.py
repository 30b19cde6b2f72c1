"""The converter of LPIPS and FID weights: what it refuses. What it writes, jax_impl's tests compare with torch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from export.edge.errors import UserError
from tests.torch_ref.perceptual_networks import random_alexnet, random_vgg16
from torch_ref.perceptual import main


@pytest.fixture
def files(tmp_path: Path) -> Path:
    net, lin = random_alexnet()
    torch.save(net, tmp_path / "net.pth")
    torch.save(lin, tmp_path / "lin.pth")
    torch.save(net | {"features.6.bias": torch.full((10,), torch.nan)}, tmp_path / "nan.pth")
    torch.save({n: w for n, w in net.items() if n != "features.8.weight"}, tmp_path / "short.pth")
    torch.save(net | {"features.9.weight": torch.zeros(1)}, tmp_path / "more.pth")
    torch.save(net | {"features.3.bias": net["features.3.bias"][None]}, tmp_path / "flat.pth")
    torch.save(random_alexnet((6, 8, 9, 7, 5))[1], tmp_path / "other.pth")
    torch.save(random_vgg16()[0], tmp_path / "vgg.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"code": main}, tmp_path / "code.pth")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["lpips", "none.pth", "lin.pth", "o.safetensors"], "does not exist"),
        (["lpips", "net.pth", "lin.pth", "o.bin"], "must end in .safetensors"),
        (["lpips", "net.pth", "lin.pth", "no/o.safetensors"], "does not exist; create it"),
        (["lpips", "nan.pth", "lin.pth", "o.safetensors"], "features.6.bias is not finite"),
        (["lpips", "short.pth", "lin.pth", "o.safetensors"], "lacks features.8.weight"),
        (["lpips", "lin.pth", "net.pth", "o.safetensors"], r"lin.pth holds lin0.model.1.weight, which this network"),
        (
            ["lpips", "more.pth", "lin.pth", "o.safetensors"],
            "more.pth holds features.9.weight, which this network lacks",
        ),
        (
            ["lpips", "net.pth", "other.pth", "o.safetensors"],
            r"lin2.model.1.weight has .* \(1, 9, 1, 1\), expected 1 × 10",
        ),
        (
            ["lpips", "vgg.pth", "lin.pth", "o.safetensors"],
            r"lin0.model.1.weight has .* \(1, 6, 1, 1\), expected 1 × 3",
        ),
        (["lpips", "flat.pth", "lin.pth", "o.safetensors"], r"features.3.bias has .* \(1, 8\), expected 8;"),
        (["lpips", "list.pth", "lin.pth", "o.safetensors"], "is no state dict"),
        (["fid", "code.pth", "o.safetensors"], "which is code and not weights"),
        (["fid", "net.pth", "o.safetensors"], "has 0 convolutions, expected 94"),
    ],
)
def test_bad_input(files: Path, words: list[str], part: str) -> None:
    kind, *paths = words
    with pytest.raises(UserError, match=part):
        main([kind, *(str(files / path) for path in paths)])
    assert not list(files.glob("o.*"))


def test_it_writes_float32_and_nothing_of_the_classifier(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    half = {name: value.half() for name, value in random_alexnet()[0].items()}
    torch.save(half, files / "half.pth")
    main(["lpips", str(files / "half.pth"), str(files / "lin.pth"), str(files / "o.safetensors")])
    held = load_file(files / "o.safetensors")
    assert {value.dtype for value in held.values()} == {torch.float32}
    names = {f"features.{i}.{part}" for i in (0, 3, 6, 8, 10) for part in ("weight", "bias")}
    assert held.keys() == names | {f"lin{i}" for i in range(5)}
    assert "o.safetensors  0.0 MB" in capsys.readouterr().out
