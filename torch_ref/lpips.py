"""LPIPS 0.1 over AlexNet or VGG16 (Zhang et al. 2018): its weights from the usual files, and its value in PyTorch.

Written from the paper and torchvision's networks, and not from `jax_impl`, so that the two can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from torch_ref.frozen import Layout, Sizes, read_state

FORMAT = "lpips"
ALEXNET = {0: (3, "a", 11), 3: ("a", "b", 5), 6: ("b", "c", 3), 8: ("c", "d", 3), 10: ("d", "e", 3)}
"""The convolutions of torchvision's AlexNet: channels in, channels out, side of the kernel."""
VGG16 = {
    0: (3, "a1", 3), 2: ("a1", "a", 3),
    5: ("a", "b1", 3), 7: ("b1", "b", 3),
    10: ("b", "c1", 3), 12: ("c1", "c2", 3), 14: ("c2", "c", 3),
    17: ("c", "d1", 3), 19: ("d1", "d2", 3), 21: ("d2", "d", 3),
    24: ("d", "e1", 3), 26: ("e1", "e2", 3), 28: ("e2", "e", 3),
}  # fmt: skip
"""Those of its VGG16."""
COMPARED = "abcde"
"""The numbers of channels of the five layers whose features are compared."""


def backbone(convolutions: Mapping[int, tuple[int | str, str, int]]) -> Layout:
    """The table of torchvision's file, without its classifier."""
    shapes: dict[str, tuple[int | str, ...]] = {}
    for place, (inner, outer, side) in convolutions.items():
        shapes |= {f"features.{place}.weight": (outer, inner, side, side), f"features.{place}.bias": (outer,)}
    return Layout(shapes, left_out=r"classifier\.")


LINEAR = Layout({f"lin{i}.model.1.weight": (1, letter, 1, 1) for i, letter in enumerate(COMPARED)})
"""The table of the linear layers' file."""


def lpips_weights(network: Path, linear: Path) -> dict[str, np.ndarray]:
    """{"features.N.weight", "features.N.bias", "lin0" … "lin4"} from the two files, float32.

    Raises UserError for a file that cannot be read, lacks a tensor, has one left over or of another shape.
    """
    state, sizes = read_state(network), Sizes()
    weights = backbone(VGG16 if "features.28.weight" in state else ALEXNET).of(state, network, sizes)
    linears = LINEAR.of(read_state(linear), linear, sizes)
    return weights | {name.partition(".")[0]: np.ascontiguousarray(w.reshape(-1)) for name, w in linears.items()}


def lpips(weights: Mapping[str, Tensor], a: Tensor, b: Tensor) -> Tensor:
    """LPIPS of pictures (batch, 3, height, width) in [-1, 1]: (batch,), in their dtype."""
    shift, scale = (a.new_tensor(row).view(1, 3, 1, 1) for row in ([-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]))
    features = _vgg16 if "features.28.weight" in weights else _alexnet
    total = a.new_zeros(len(a))
    layers = zip(*(features(weights, (x - shift) / scale) for x in (a, b)), strict=True)
    for i, (left, right) in enumerate(layers):
        apart = (_unit(left) - _unit(right)).square()
        total = total + F.conv2d(apart, weights[f"lin{i}"].to(a)[None, :, None, None]).mean((2, 3))[:, 0]
    return total


def _unit(x: Tensor) -> Tensor:
    """Of unit length along the channels; where all are 0, 0 with a gradient of 0."""
    squares = x.square().sum(1, keepdim=True)
    length = torch.where(squares > 0, squares, 1.0).sqrt()
    return torch.where(squares > 0, x / (length + 1e-10), x * 0.0)


def _conv(weights: Mapping[str, Tensor], x: Tensor, place: int, stride: int = 1, padding: int = 1) -> Tensor:
    kernel, bias = (weights[f"features.{place}.{part}"].to(x) for part in ("weight", "bias"))
    return F.relu(F.conv2d(x, kernel, bias, stride=stride, padding=padding))


def _alexnet(weights: Mapping[str, Tensor], x: Tensor) -> list[Tensor]:
    first = _conv(weights, x, 0, stride=4, padding=2)
    second = _conv(weights, F.max_pool2d(first, 3, 2), 3, padding=2)
    third = _conv(weights, F.max_pool2d(second, 3, 2), 6)
    fourth = _conv(weights, third, 8)
    return [first, second, third, fourth, _conv(weights, fourth, 10)]


def _vgg16(weights: Mapping[str, Tensor], x: Tensor) -> list[Tensor]:
    layers = []
    for places in ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28)):
        x = F.max_pool2d(layers[-1], 2, 2) if layers else x
        for place in places:
            x = _conv(weights, x, place)
        layers.append(x)
    return layers
