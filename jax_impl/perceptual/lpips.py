"""LPIPS 0.1 over AlexNet or VGG16, in plain JAX (Zhang, Isola, Efros, Shechtman, Wang 2018)."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_impl.model.blocks import everywhere
from jax_impl.perceptual.layers import conv, max_pool
from jax_impl.perceptual.weights import Weights, check_weights, read_weights
from jax_impl.shapes import Array, Features, Float

FORMAT = "lpips"
SOURCE = (
    "`python -m torch_ref.perceptual lpips` makes it of two files: vgg16-397923af.pth or alexnet-owt-7be5be79.pth of "
    "torchvision (download.pytorch.org/models, BSD 3-Clause licence), and vgg.pth or alex.pth of the package lpips "
    "0.1.4 (folder lpips/weights/v0.1, BSD 2-Clause licence)"
)
"""Where the weights come from, for messages."""
_SHIFT, _SCALE = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])


class _Block(NamedTuple):
    """What lies between two layers whose features are compared."""

    pool: int
    """Side of the window of the pooling before it, at stride 2; 0 for none."""
    places: tuple[int, ...]
    """Numbers of its convolutions among torchvision's `features`."""
    stride: int = 1
    pad: int = 1


class Backbone(NamedTuple):
    """A network whose features are compared."""

    name: str
    smallest: int
    """Side of the smallest picture that its pooling leaves something of, pixels."""
    blocks: tuple[_Block, ...]


ALEXNET = Backbone(
    "AlexNet", 31, (_Block(0, (0,), 4, 2), _Block(3, (3,), 1, 2), _Block(3, (6,)), _Block(0, (8,)), _Block(0, (10,)))
)
"""Krizhevsky 2014, in torchvision's sizes."""
VGG16 = Backbone(
    "VGG16",
    16,
    (
        *(_Block(0, (0, 2)), _Block(2, (5, 7)), _Block(2, (10, 12, 14))),
        *(_Block(2, (17, 19, 21)), _Block(2, (24, 26, 28))),
    ),
)
"""Simonyan & Zisserman 2015, configuration D."""


def open_lpips(path: Path, what: str) -> Weights:
    """The weights of a file; UserError, which calls it `what`, for another, a damaged one, or one that fills neither
    network."""
    weights = read_weights(path, FORMAT, what, SOURCE)
    check_weights(path, lpips, weights, (1, 64, 64, 3), (1, 64, 64, 3))
    return weights


def backbone_of(weights: Weights) -> Backbone:
    """The network that the weights are of: VGG16 has a convolution that AlexNet lacks."""
    return VGG16 if "features.28.weight" in weights else ALEXNET


def lpips(
    weights: Weights, a: Features, b: Features, dtype: jax.typing.DTypeLike | None = None
) -> Float[Array, " batch"]:
    """LPIPS of pictures (batch, height, width, 3) in [-1, 1] with others, as they are: no resizing; (batch,).

    Equation 1: at each of five layers the features of every place are brought to unit length, and the squared
    differences are weighted by channel, averaged over places and added up. `dtype`: what the features are computed in,
    by default that of the pictures; the rest is computed in theirs.
    """
    total = jnp.zeros(len(a), a.dtype)
    for index, layers in enumerate(zip(*(_features(weights, x, dtype) for x in (a, b)), strict=True)):
        left, right = (_unit(x.astype(a.dtype)) for x in layers)
        linear = everywhere(weights[f"lin{index}"].astype(a.dtype))
        total += (jnp.square(left - right) * linear).sum(axis=-1).mean(axis=(1, 2))
    return total


def _features(weights: Weights, pictures: Features, dtype: jax.typing.DTypeLike | None) -> list[jax.Array]:
    """The features at the end of each block, rectified."""
    shift, scale = (everywhere(jnp.asarray(row, pictures.dtype)) for row in (_SHIFT, _SCALE))
    x = ((pictures - shift) / scale).astype(dtype or pictures.dtype)
    layers = []
    for block in backbone_of(weights).blocks:
        x = max_pool(x, 2, block.pool) if block.pool else x
        for place in block.places:
            kernel, bias = (weights[f"features.{place}.{part}"] for part in ("weight", "bias"))
            x = jax.nn.relu(conv(x, kernel, bias, block.stride, [(block.pad, block.pad)] * 2))
        layers.append(x)
    return layers


def _unit(x: jax.Array) -> jax.Array:
    """Features of unit length; where all are 0 they stay, and their gradient is 0, as a root has none there."""
    squares = jnp.square(x).sum(axis=-1, keepdims=True)
    nothing = squares == 0.0
    return x / (jnp.where(nothing, 0.0, jnp.sqrt(jnp.where(nothing, 1.0, squares))) + 1e-10)
