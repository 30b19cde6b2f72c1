"""Networks of others in torch, as narrow as one likes: random state dicts as torchvision and lpips save them; FID's.

The Inception makes its weights as it meets them, so that a forward pass leaves the state dict that pytorch-fid saves.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_ref.perceptual import main

State = dict[str, Tensor]


def random_alexnet(widths: tuple[int, ...] = (6, 8, 10, 7, 5)) -> tuple[State, State]:
    """State dicts of torchvision's AlexNet, its classifier included, and of LPIPS's linear layers."""
    torch.manual_seed(0)
    net: State = {"classifier.1.weight": torch.randn(4, 4), "classifier.1.bias": torch.randn(4)}
    lin: State = {}
    channels = 3
    for i, (place, kernel, width) in enumerate(zip((0, 3, 6, 8, 10), (11, 5, 3, 3, 3), widths, strict=True)):
        net[f"features.{place}.weight"] = torch.randn(width, channels, kernel, kernel) / (kernel * channels**0.5)
        net[f"features.{place}.bias"] = 0.1 * torch.randn(width)
        lin[f"lin{i}.model.1.weight"] = torch.rand(1, width, 1, 1)
        channels = width
    return net, lin


def random_vgg16(widths: tuple[int, ...] = (3, 4, 5, 6, 7)) -> tuple[State, State]:
    """The same of VGG16, whose five groups of convolutions have these widths."""
    torch.manual_seed(1)
    net: State = {"classifier.0.weight": torch.randn(4, 4)}
    lin: State = {}
    channels, groups = 3, ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
    for i, (places, width) in enumerate(zip(groups, widths, strict=True)):
        for place in places:
            net[f"features.{place}.weight"] = torch.randn(width, channels, 3, 3) * (2 / (9 * channels)) ** 0.5
            net[f"features.{place}.bias"] = 0.1 * torch.randn(width)
            channels = width
        lin[f"lin{i}.model.1.weight"] = torch.rand(1, width, 1, 1)
    return net, lin


def write_lpips(folder: Path, states: tuple[State, State]) -> Path:
    """The converted file of two state dicts."""
    for name, state in zip(("net", "lin"), states, strict=True):
        torch.save(state, folder / f"{name}.pth")
    main(["lpips", str(folder / "net.pth"), str(folder / "lin.pth"), str(folder / "lpips.safetensors")])
    return folder / "lpips.safetensors"


class Inception:
    """Inception v3 as pytorch-fid runs it, every width divided by `narrow`."""

    def __init__(self, narrow: int = 16) -> None:
        self.narrow = narrow
        self.state: State = {"fc.weight": torch.zeros(2, 2), "AuxLogits.conv0.conv.weight": torch.zeros(1, 1, 1, 1)}
        self.random = torch.Generator().manual_seed(0)

    def conv(
        self, x: Tensor, name: str, width: int, kernel: int | tuple[int, int], stride: int = 1, pad: int | tuple = 0
    ) -> Tensor:
        """Convolution, batch normalisation with running statistics, ReLU."""
        width = max(1, width // self.narrow)
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        if f"{name}.conv.weight" not in self.state:
            scale = (2.0 / (x.shape[1] * sides[0] * sides[1])) ** 0.5
            drawn = torch.randn((width, x.shape[1], *sides), generator=self.random) * scale
            norm = torch.rand((4, width), generator=self.random)
            self.state |= {
                f"{name}.conv.weight": drawn,
                f"{name}.bn.weight": 0.5 + norm[0],
                f"{name}.bn.bias": norm[1] - 0.3,
                f"{name}.bn.running_mean": norm[2] - 0.5,
                f"{name}.bn.running_var": 0.5 + norm[3],
                f"{name}.bn.num_batches_tracked": torch.tensor(7),
            }
        mean, var, weight, bias = (
            self.state[f"{name}.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        x = F.conv2d(x, self.state[f"{name}.conv.weight"], stride=stride, padding=pad)
        return F.relu(F.batch_norm(x, mean, var, weight, bias, eps=0.001))

    def __call__(self, x: Tensor) -> Tensor:
        """(batch, 3, height, width) in [0, 1] to (batch, features)."""
        c = self.conv
        x = 2 * F.interpolate(x, size=(299, 299), mode="bilinear", align_corners=False) - 1
        x = c(x, "Conv2d_1a_3x3", 32, 3, stride=2)
        x = c(x, "Conv2d_2a_3x3", 32, 3)
        x = F.max_pool2d(c(x, "Conv2d_2b_3x3", 64, 3, pad=1), 3, 2)
        x = c(c(x, "Conv2d_3b_1x1", 80, 1), "Conv2d_4a_3x3", 192, 3)
        x = F.max_pool2d(x, 3, 2)
        for name, pool in (("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)):
            x = self.a(x, name, pool)
        x = self.b(x, "Mixed_6a")
        for name, width in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
            x = self.c(x, name, width)
        x = self.d(x, "Mixed_7a")
        x = self.e(x, "Mixed_7b", F.avg_pool2d(x, 3, 1, 1, count_include_pad=False))
        x = self.e(x, "Mixed_7c", F.max_pool2d(x, 3, 1, 1))
        return F.adaptive_avg_pool2d(x, 1)[:, :, 0, 0]

    def a(self, x: Tensor, n: str, pool: int) -> Tensor:
        c = self.conv
        one = c(x, f"{n}.branch1x1", 64, 1)
        five = c(c(x, f"{n}.branch5x5_1", 48, 1), f"{n}.branch5x5_2", 64, 5, pad=2)
        three = c(c(x, f"{n}.branch3x3dbl_1", 64, 1), f"{n}.branch3x3dbl_2", 96, 3, pad=1)
        three = c(three, f"{n}.branch3x3dbl_3", 96, 3, pad=1)
        mean = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        return torch.cat([one, five, three, c(mean, f"{n}.branch_pool", pool, 1)], 1)

    def b(self, x: Tensor, n: str) -> Tensor:
        c = self.conv
        three = c(x, f"{n}.branch3x3", 384, 3, stride=2)
        double = c(c(x, f"{n}.branch3x3dbl_1", 64, 1), f"{n}.branch3x3dbl_2", 96, 3, pad=1)
        double = c(double, f"{n}.branch3x3dbl_3", 96, 3, stride=2)
        return torch.cat([three, double, F.max_pool2d(x, 3, 2)], 1)

    def c(self, x: Tensor, n: str, w: int) -> Tensor:
        c = self.conv
        one = c(x, f"{n}.branch1x1", 192, 1)
        seven = c(c(x, f"{n}.branch7x7_1", w, 1), f"{n}.branch7x7_2", w, (1, 7), pad=(0, 3))
        seven = c(seven, f"{n}.branch7x7_3", 192, (7, 1), pad=(3, 0))
        double = c(c(x, f"{n}.branch7x7dbl_1", w, 1), f"{n}.branch7x7dbl_2", w, (7, 1), pad=(3, 0))
        double = c(double, f"{n}.branch7x7dbl_3", w, (1, 7), pad=(0, 3))
        double = c(double, f"{n}.branch7x7dbl_4", w, (7, 1), pad=(3, 0))
        double = c(double, f"{n}.branch7x7dbl_5", 192, (1, 7), pad=(0, 3))
        mean = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        return torch.cat([one, seven, double, c(mean, f"{n}.branch_pool", 192, 1)], 1)

    def d(self, x: Tensor, n: str) -> Tensor:
        c = self.conv
        three = c(c(x, f"{n}.branch3x3_1", 192, 1), f"{n}.branch3x3_2", 320, 3, stride=2)
        seven = c(c(x, f"{n}.branch7x7x3_1", 192, 1), f"{n}.branch7x7x3_2", 192, (1, 7), pad=(0, 3))
        seven = c(seven, f"{n}.branch7x7x3_3", 192, (7, 1), pad=(3, 0))
        seven = c(seven, f"{n}.branch7x7x3_4", 192, 3, stride=2)
        return torch.cat([three, seven, F.max_pool2d(x, 3, 2)], 1)

    def e(self, x: Tensor, n: str, pooled: Tensor) -> Tensor:
        c = self.conv
        one = c(x, f"{n}.branch1x1", 320, 1)
        three = c(x, f"{n}.branch3x3_1", 384, 1)
        three_a = c(three, f"{n}.branch3x3_2a", 384, (1, 3), pad=(0, 1))
        three_b = c(three, f"{n}.branch3x3_2b", 384, (3, 1), pad=(1, 0))
        double = c(c(x, f"{n}.branch3x3dbl_1", 448, 1), f"{n}.branch3x3dbl_2", 384, 3, pad=1)
        double_a = c(double, f"{n}.branch3x3dbl_3a", 384, (1, 3), pad=(0, 1))
        double_b = c(double, f"{n}.branch3x3dbl_3b", 384, (3, 1), pad=(1, 0))
        return torch.cat([one, three_a, three_b, double_a, double_b, c(pooled, f"{n}.branch_pool", 192, 1)], 1)
