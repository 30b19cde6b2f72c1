"""The original script's network and training, written from their description alone, and what it saves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import StepLR

from torch_ref.convert import main


class Original(nn.Module):
    """The network at another width, called with t / T."""

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


@dataclass
class Script:
    """The script's training: network, AdamW, StepLR, and the number of epochs done."""

    model: nn.Module
    optimizer: AdamW
    scheduler: StepLR
    epoch: int = 0

    @staticmethod
    def start(model: nn.Module) -> Script:
        optimizer = AdamW(model.parameters(), lr=1e-4, weight_decay=0.01)
        return Script(model, optimizer, StepLR(optimizer, step_size=100, gamma=0.5))

    @staticmethod
    def resume(model: nn.Module, path: Path) -> Script:
        script, held = Script.start(model), torch.load(path, map_location="cpu")
        script.model.load_state_dict(held["model_state_dict"])
        script.optimizer.load_state_dict(held["optimizer_state_dict"])
        script.scheduler.load_state_dict(held["scheduler_state_dict"])
        script.epoch = held["epoch"]
        return script

    def step(self, x_t: Tensor, t: Tensor, cond: Tensor, eps: Tensor) -> float:
        """One step on pictures (batch, 3, height, width) at integer t (batch,); returns the loss."""
        self.model.train()
        self.optimizer.zero_grad()
        error = self.model(x_t, t.to(x_t.dtype) / 1000, cond) - eps
        loss = error.square().mean() + 0.1 * error.abs().mean()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss.item()

    def end_epoch(self) -> None:
        self.scheduler.step()
        self.epoch += 1

    def checkpoint(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "model_state_dict": self.model.state_dict(),
            "optimizer_state_dict": self.optimizer.state_dict(),
            "scheduler_state_dict": self.scheduler.state_dict(),
            "loss": 0.375,
        }


def batch(seed: int, height: int = 16, width: int = 24) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x_t, t, cond, eps of an odd batch of pictures that are not square."""
    draw = torch.Generator().manual_seed(seed)
    x_t, cond, eps = torch.randn(3, 3, 3, height, width, generator=draw)
    return x_t, torch.randint(0, 1000, (3,), generator=draw), cond.tanh(), eps


def trained(width: int = 8, steps: int = 3, epochs: int = 101) -> Script:
    """Some steps, so that moments and statistics are not those of the start, and epochs enough to halve the rate."""
    torch.manual_seed(width)
    script = Script.start(Original(width))
    for seed in range(steps):
        script.step(*batch(seed))
    for _ in range(epochs):
        script.end_epoch()
    return script


Held = dict[str, Any]
"""What a checkpoint holds."""


def convert(*words: object) -> None:
    """Run the command."""
    main([str(word) for word in words])


def assert_same(left: object, right: object, where: str = "") -> None:
    """Equal down to types and bits."""
    if isinstance(left, dict) and isinstance(right, dict):
        assert left.keys() == right.keys(), where
        for key in left:
            assert_same(left[key], right[key], f"{where}.{key}")
    elif isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor):
        assert left.dtype == right.dtype and left.shape == right.shape and torch.equal(left, right), where
    elif isinstance(left, list | tuple) and isinstance(right, list | tuple):
        assert type(left) is type(right) and len(left) == len(right), where
        for i, pair in enumerate(zip(left, right, strict=True)):
            assert_same(*pair, f"{where}[{i}]")
    else:
        assert type(left) is type(right) and left == right, where
