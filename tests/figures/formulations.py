"""A convolution and its two gradients, written in several ways, and in PyTorch, for `tests.figures.convolutions`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax import lax

Direction = Literal["forward", "input", "weight"]
"""The convolution, and its gradients with respect to what goes in and to its kernel."""
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
LANES = 16
"""Channels that fill a vector register of 512 bits in float32."""


@dataclass(frozen=True)
class Conv:
    """The shapes of a two-dimensional convolution, in one group, without dilation."""

    x: tuple[int, ...]
    """(batch, height, width, in)."""
    w: tuple[int, ...]
    """(rows, columns, in, out)."""
    y: tuple[int, ...]
    """(batch, height, width, out)."""
    stride: int
    padding: tuple[tuple[int, int], ...]
    """Zeros before and after height and width, the same everywhere."""

    def __str__(self) -> str:
        side, kernel, stride = self.x[1], self.w[0], f", stride {self.stride}" if self.stride > 1 else ""
        return f"{side} × {side}, {self.w[2]} → {self.w[3]}, {kernel} × {kernel}{stride}"


Function = Callable[[jax.Array, jax.Array], jax.Array]
"""(x, w) to y."""


def plain(conv: Conv, x: jax.Array, w: jax.Array) -> jax.Array:
    """What the model writes."""
    strides = (conv.stride, conv.stride)
    return lax.conv_general_dilated(x, w, strides, conv.padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def channels_first(conv: Conv, x: jax.Array, w: jax.Array) -> jax.Array:
    """PyTorch's layout: x (batch, in, height, width), w (out, in, rows, columns), y (batch, out, height, width)."""
    return lax.conv_general_dilated(x, w, (conv.stride, conv.stride), conv.padding)


def shifted(conv: Conv, x: jax.Array) -> list[jax.Array]:
    """For each tap of the kernel, row by row, the pixels that it meets: (batch, height, width, in)."""
    x, s = jnp.pad(x, ((0, 0), *conv.padding, (0, 0))), conv.stride
    (rows, columns), (height, width) = conv.w[:2], conv.y[1:3]
    return [
        x[:, i : i + s * (height - 1) + 1 : s, j : j + s * (width - 1) + 1 : s]
        for i in range(rows)
        for j in range(columns)
    ]


def patches(conv: Conv, x: jax.Array, w: jax.Array) -> jax.Array:
    """Every pixel's neighbourhood side by side, then one matrix product (im2col)."""
    return jnp.concatenate(shifted(conv, x), axis=-1) @ w.reshape(-1, conv.w[3])


def library_patches(conv: Conv, x: jax.Array, w: jax.Array) -> jax.Array:
    """The same with `conv_general_dilated_patches`, which orders the neighbourhood by channel first."""
    found = lax.conv_general_dilated_patches(
        x, conv.w[:2], (conv.stride, conv.stride), conv.padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return found @ w.transpose(2, 0, 1, 3).reshape(-1, conv.w[3])


def taps(conv: Conv, x: jax.Array, w: jax.Array) -> jax.Array:
    """A sum of one matrix product for each tap."""
    pairs = zip(shifted(conv, x), w.reshape(-1, *conv.w[2:]), strict=True)
    return sum((seen @ tap for seen, tap in pairs), jnp.zeros((), x.dtype))


def columns(conv: Conv, x: jax.Array, w: jax.Array) -> jax.Array:
    """One matrix product for all taps, whose results are then shifted and added."""
    count = conv.w[0] * conv.w[1]
    found = x @ w.transpose(2, 0, 1, 3).reshape(conv.w[2], -1)
    each = shifted(conv, found)
    parts = (one.reshape(*conv.y[:3], count, conv.w[3])[..., k, :] for k, one in enumerate(each))
    return sum(parts, jnp.zeros((), x.dtype))


def filled(conv: Conv, x: jax.Array, w: jax.Array) -> jax.Array:
    """Zeros up to a multiple of LANES channels on both sides, cut off afterwards."""
    more_in, more_out = (-c % LANES for c in conv.w[2:])
    x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, more_in)))
    return plain(conv, x, jnp.pad(w, ((0, 0), (0, 0), (0, more_in), (0, more_out))))[..., : conv.w[3]]


FORMULATIONS: dict[str, Callable[[Conv, jax.Array, jax.Array], jax.Array]] = {
    "XLA": plain,
    "NCHW": channels_first,
    "patches": patches,
    "library patches": library_patches,
    "taps": taps,
    "columns": columns,
    "filled": filled,
}
"""Each with the gradients that JAX derives."""


def flipped(conv: Conv, g: jax.Array, w: jax.Array) -> jax.Array:
    """The gradient of x: g, with zeros between its pixels for a stride, convolved with the kernel turned round."""
    pads = []
    for axis, (before, _) in enumerate(conv.padding):
        size, spread = conv.w[axis], conv.stride * (conv.y[axis + 1] - 1) + 1
        pads.append((size - 1 - before, conv.x[axis + 1] + before - spread))
    return lax.conv_general_dilated(
        g, w[::-1, ::-1].swapaxes(2, 3), (1, 1), pads,
        lhs_dilation=(conv.stride, conv.stride), dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip


def exchanged(conv: Conv, x: jax.Array, g: jax.Array) -> jax.Array:
    """The gradient of w where stride is 1: g convolved with x as the kernel, turned round; out and in change places."""
    pads = [(conv.w[a] - 1 - before, conv.w[a] - 1 - after) for a, (before, after) in enumerate(conv.padding)]
    found = lax.conv_general_dilated(g, x, (1, 1), pads, dimension_numbers=("CHWN", "IHWO", "NHWC"))
    return found[:, ::-1, ::-1].transpose(1, 2, 3, 0)


def applies(name: str, conv: Conv) -> bool:
    """Whether a formulation differs from the plain one for this convolution."""
    if name == "filled":
        return any(c % LANES for c in conv.w[2:])
    single = conv.w[:2] == (1, 1)
    return not (single and name in ("library patches", "taps", "columns", "flipped", "exchanged"))


def ways(
    conv: Conv, direction: Direction, x: np.ndarray, w: np.ndarray, g: np.ndarray
) -> dict[str, Callable[[], object]]:
    """Ready to run: every formulation of a direction on those arrays, compiled when first called."""
    made: dict[str, Callable[[], object]] = {}

    def add(name: str, function: Callable[..., jax.Array], *arrays: np.ndarray) -> None:
        given, compiled = [jnp.asarray(a) for a in arrays], jax.jit(function)
        made[name] = lambda: jax.block_until_ready(compiled(*given))

    for name, formulation in FORMULATIONS.items():
        if not applies(name, conv):
            continue
        arrays = (x, w, g)
        if name == "NCHW":
            arrays = (_first(x), w.transpose(3, 2, 0, 1), _first(g))
        add(name, _of(direction, lambda x, w, f=formulation: f(conv, x, w)), *arrays)
    if direction == "input" and applies("flipped", conv):
        add("flipped", lambda g, w: flipped(conv, g, w), g, w)
    if direction == "weight" and conv.stride == 1 and applies("exchanged", conv):
        add("exchanged", lambda x, g: exchanged(conv, x, g), x, g)
    return made


def pytorch(
    conv: Conv, direction: Direction, x: np.ndarray, w: np.ndarray, g: np.ndarray
) -> Callable[[], torch.Tensor]:
    """The same in eager PyTorch, channels first; w's gradient is (out, in, rows, columns)."""
    arrays = (_first(x), w.transpose(3, 2, 0, 1), _first(g))
    tx, tw, tg = (torch.from_numpy(a.copy()) for a in arrays)
    # Even padding alone: PyTorch has no other.
    stride, padding = [conv.stride] * 2, [before for before, _ in conv.padding]
    if direction == "forward":
        return lambda: torch.conv2d(tx, tw, None, stride, padding)
    mask, place = [direction == "input", direction == "weight", False], ("input", "weight").index(direction)
    backward = torch.ops.aten.convolution_backward
    return lambda: backward(tg, tx, tw, None, stride, padding, [1, 1], False, [0, 0], 1, mask)[place]


def in_our_layout(name: str, direction: Direction, result: object) -> np.ndarray:
    """A result of PyTorch's or of any formulation, float64: NHWC, or (rows, columns, in, out) for the gradient of w."""
    if isinstance(result, torch.Tensor):
        found = result.detach().to(torch.float64).numpy()
    else:
        found = np.asarray(result).astype(np.float64)
    if name not in ("PyTorch", "NCHW"):
        return found
    return found.transpose(2, 3, 1, 0) if direction == "weight" else found.transpose(0, 2, 3, 1)


def _first(a: np.ndarray) -> np.ndarray:
    return a.transpose(0, 3, 1, 2)


def _of(direction: Direction, function: Function) -> Callable[[jax.Array, jax.Array, jax.Array], jax.Array]:
    """What to compute from (x, w, g): the function, or one of its two gradients for g."""
    if direction == "forward":
        return lambda x, w, g: function(x, w)
    place = ("input", "weight").index(direction)
    return lambda x, w, g: jax.vjp(function, x, w)[1](g)[place]
