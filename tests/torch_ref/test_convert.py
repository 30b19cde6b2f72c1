"""Checkpoints for the original project, against a network written from its description alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from export.edge.errors import UserError
from torch_ref.convert import main
from torch_ref.weights import load_bundle

Make = Callable[[str], Path]


class Original(nn.Module):
    """The original script's network at another width, called with t / T."""

    def __init__(self, w: int) -> None:
        super().__init__()

        def double(a: int, b: int) -> list[nn.Module]:
            layers: list[nn.Module] = []
            for i, o in ((a, b), (b, b)):
                layers += [nn.Conv2d(i, o, kernel_size=3, padding=1), nn.BatchNorm2d(o), nn.ReLU(inplace=True)]
            return layers

        self.time_mlp = nn.Sequential(nn.Linear(1, 256), nn.SiLU(), nn.Linear(256, 256))
        self.inc = nn.Sequential(*double(6, w))
        self.down1 = nn.Sequential(nn.MaxPool2d(2), *double(w, w * 2))
        self.down2 = nn.Sequential(nn.MaxPool2d(2), *double(w * 2, w * 4))
        self.down3 = nn.Sequential(nn.MaxPool2d(2), *double(w * 4, w * 8))
        self.bottleneck = nn.Sequential(*double(w * 8, w * 8))
        self.time_proj = nn.Sequential(nn.Linear(256, w * 8), nn.SiLU())
        self.up1 = nn.Sequential(nn.ConvTranspose2d(w * 8, w * 4, kernel_size=2, stride=2), *double(w * 8, w * 4))
        self.up2 = nn.Sequential(nn.ConvTranspose2d(w * 4, w * 2, kernel_size=2, stride=2), *double(w * 4, w * 2))
        self.up3 = nn.Sequential(nn.ConvTranspose2d(w * 2, w, kernel_size=2, stride=2), *double(w * 2, w))
        self.outc = nn.Sequential(nn.Conv2d(w, 3, kernel_size=3, padding=1), nn.Tanh())

    def forward(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        x1 = self.inc(torch.cat([x, condition], dim=1))
        x2 = self.down1(x1)
        x3 = self.down2(x2)
        h = self.bottleneck(self.down3(x3))
        h = h + self.time_proj(self.time_mlp(t.view(-1, 1))).view(h.shape[0], -1, 1, 1)
        for up, skip in zip((self.up1, self.up2, self.up3), (x3, x2, x1), strict=True):
            h = torch.cat([up[0](h), skip], dim=1)
            for layer in list(up)[1:]:
                h = layer(h)
        return self.outc(h)


def test_the_original_loads_it_and_says_the_same(
    make_bundle: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle_path, path = make_bundle("tanh"), tmp_path / "model.pth"
    main([str(bundle_path), str(path)])
    assert "note" not in capsys.readouterr().out
    held = torch.load(path, weights_only=True)
    assert held.keys() == {"model_state_dict", "epoch", "loss"}
    original = Original(8)
    original.load_state_dict(held["model_state_dict"], strict=True)
    original.eval()
    x_t, cond, t = torch.randn(3, 3, 16, 24), torch.randn(3, 3, 16, 24), torch.tensor([0, 40, 99])
    with torch.no_grad():
        wanted = original(x_t, t / 100, cond)
        torch.testing.assert_close(load_bundle(bundle_path).model(x_t, cond, t), wanted, rtol=0, atol=1e-6)
    assert wanted.std() > 1e-3


@pytest.mark.parametrize(("kind", "note"), [("seed", "squash"), ("unet", "residual family")])
def test_weights_that_the_original_cannot_use_come_with_a_note(
    kind: str, note: str, make_bundle: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle_path, path = make_bundle(kind), tmp_path / "model.pth"
    main([str(bundle_path), str(path)])
    assert note in capsys.readouterr().out
    state = torch.load(path, weights_only=True)["model_state_dict"]
    load_bundle(bundle_path).model.load_state_dict(state, strict=True)


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("model.onnx", "model.pth", "cannot convert model.onnx to model.pth"),
        ("seed.safetensors", "model.pt", "cannot convert"),
        ("seed.safetensors", "model.safetensors", "cannot convert"),
        ("none.safetensors", "model.pth", "does not exist"),
        ("broken.safetensors", "model.pth", "is not a whole safetensors file"),
        ("seed.safetensors", "nowhere/model.pth", "nowhere does not exist"),
    ],
)
def test_paths_that_cannot_be_used(source: str, target: str, message: str, make_bundle: Make, tmp_path: Path) -> None:
    make_bundle("seed")
    (tmp_path / "broken.safetensors").write_bytes(b"no")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match=message):
        main([str(tmp_path / source), str(tmp_path / target)])
    assert sorted(tmp_path.iterdir()) == before
