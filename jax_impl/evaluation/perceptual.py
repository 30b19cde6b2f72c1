"""LPIPS, from weights that the user points to: a small network in plain JAX, and what FID shares with it.

Weight files are safetensors, made from the usual `.pth` ones by `python -m torch_ref.perceptual`.
Convolution kernels in them are (out, in, height, width). How many channels there are
follows from the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from export.edge.disk.files import weights_digest
from export.edge.errors import UserError
from export.edge.pictures.arrays import to_float
from jax_impl.runs.tensor_file import read_tensors

Weights = Mapping[str, jax.Array]
FORMAT_VERSION = "1"
LPIPS_FORMAT = "dawn2dusk-lpips"
SMALLEST_SIDE = 31
"""AlexNet's pooling leaves nothing of a picture with a shorter side, pixels."""
_SHIFT = np.array([-0.030, -0.088, -0.188], np.float32).reshape(1, 1, 1, 3)
_SCALE = np.array([0.458, 0.448, 0.450], np.float32).reshape(1, 1, 1, 3)
_ALEXNET = (
    ("features.0", 4, 2),
    ("features.3", 1, 2),
    ("features.6", 1, 1),
    ("features.8", 1, 1),
    ("features.10", 1, 1),
)
"""Each convolution's name, stride and padding; pooling comes before the second and the third."""


def open_lpips(path: Path) -> Callable[[np.ndarray, np.ndarray], float]:
    """A function of two uint8 pictures (height, width, 3), 0 for equal ones, up to rounding.

    Raises UserError for a file that is not one of LPIPS weights, is damaged or does not
    fill the network; the function does for pictures smaller than 31 pixels on a side.
    """
    weights = read_weights(path, LPIPS_FORMAT, "lpips")
    check_weights(path, lpips, weights, (1, 64, 64, 3), (1, 64, 64, 3))
    measure = jax.jit(lpips)

    def distance(a: np.ndarray, b: np.ndarray) -> float:
        if min(a.shape[:2]) < SMALLEST_SIDE:
            raise UserError(
                f"LPIPS needs pictures of at least {SMALLEST_SIDE} x {SMALLEST_SIDE} pixels, got {a.shape[1]} x "
                f"{a.shape[0]}; leave out --lpips, or choose a larger --data.size"
            )
        return float(measure(weights, to_float(a)[None], to_float(b)[None])[0])

    return distance


def lpips(weights: Weights, a: jax.Array, b: jax.Array) -> jax.Array:
    """LPIPS of version 0.1 over AlexNet: pictures (batch, height, width, 3) in [-1, 1] to (batch,).

    Zhang, Isola, Efros, Shechtman, Wang 2018, equation 1: at each of five layers the features
    of every place are brought to unit length, and the squared differences are weighted
    by channel, averaged over places and added up.
    """
    total = jnp.zeros(len(a))
    both = (jnp.concatenate([a, b]) - _SHIFT) / _SCALE
    for index, features in enumerate(_alexnet(weights, both)):
        left, right = jnp.split(_unit(features), 2)
        apart = (left - right) ** 2
        total += (apart * weights[f"lin{index}"][None, None, None, :]).sum(axis=-1).mean(axis=(1, 2))
    return total


def _alexnet(weights: Weights, x: jax.Array) -> list[jax.Array]:
    """The features after each of the five rectified convolutions (Krizhevsky 2014, torchvision's sizes)."""
    layers = []
    for index, (name, stride, pad) in enumerate(_ALEXNET):
        if index in (1, 2):
            x = max_pool(x, 2)
        x = jax.nn.relu(conv(x, weights[f"{name}.weight"], weights[f"{name}.bias"], stride, [(pad, pad)] * 2))
        layers.append(x)
    return layers


def _unit(x: jax.Array) -> jax.Array:
    return x / (jnp.sqrt((x * x).sum(axis=-1, keepdims=True)) + 1e-10)


def conv(x: jax.Array, kernel: jax.Array, bias: jax.Array, stride: int, pads: list[tuple[int, int]]) -> jax.Array:
    """Convolution of (batch, height, width, in) by (out, in, rows, columns), with zeros around it."""
    layout = ("NHWC", "OIHW", "NHWC")
    # Accelerators would otherwise round what goes in, and the figures would depend on the device.
    exact = lax.Precision.HIGHEST
    y = lax.conv_general_dilated(x, kernel, (stride, stride), pads, dimension_numbers=layout, precision=exact)
    return y + bias[None, None, None, :]


def max_pool(x: jax.Array, stride: int) -> jax.Array:
    """Over 3 x 3 places: whole ones at stride 2, all at stride 1."""
    padding = "VALID" if stride > 1 else "SAME"
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, stride, stride, 1), padding)


def read_weights(path: Path, wanted: str, kind: str) -> dict[str, jax.Array]:
    """The weights in a file of the `wanted` format, given as --`kind`; UserError where it is another or damaged."""
    metadata, tensors = read_tensors(path, f"--{kind}")
    if (metadata.get("format"), metadata.get("format_version")) != (wanted, FORMAT_VERSION):
        raise UserError(
            f"--{kind} {path} holds no {wanted} weights; make it with `python -m torch_ref.perceptual {kind}`"
        )
    if weights_digest(tensors) != metadata.get("weights_digest"):
        raise UserError(f"--{kind} {path} does not fit its digest; the file is damaged, write it again")
    return {name: jnp.asarray(tensor) for name, tensor in tensors.items()}


class _Watched(dict):
    """Weights that note which of them were asked for."""

    def __init__(self, weights: Weights) -> None:
        super().__init__(weights)
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> jax.Array:
        self.asked.add(name)
        return super().__getitem__(name)


def check_weights(path: Path, network: Callable[..., jax.Array], weights: Weights, *shapes: tuple[int, ...]) -> None:
    """Raise UserError unless the weights fill the network, and nothing is left over; computes nothing."""
    watched = _Watched(weights)
    try:
        jax.eval_shape(lambda *x: network(watched, *x), *(jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes))
    except KeyError as error:
        raise UserError(f"{path} lacks {error.args[0]}; write it again") from None
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{path}: its weights do not fit together ({str(error).splitlines()[0]}); write it again"
        ) from None
    extra = sorted(weights.keys() - watched.asked)
    if extra:
        raise UserError(f"{path} holds {extra[0]}, which this network lacks; write it again")
