"""Layers of networks that others have trained; they compute in the kind of number that their input has."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from jax_impl.shapes import Features


def compute_dtype() -> jax.typing.DTypeLike | None:
    """What a loss term computes such a network in: bfloat16 on accelerators; None, as pictures are, on a CPU."""
    return None if jax.default_backend() == "cpu" else jnp.bfloat16


def conv(x: jax.Array, kernel: jax.Array, bias: jax.Array, stride: int, pads: list[tuple[int, int]]) -> jax.Array:
    """Convolution of (batch, height, width, in) by (out, in, rows, columns), with zeros around it."""
    layout = ("NHWC", "OIHW", "NHWC")
    # Accelerators would otherwise round float32, and the figures would depend on the device.
    exact = lax.Precision.HIGHEST
    y = lax.conv_general_dilated(
        x, kernel.astype(x.dtype), (stride, stride), pads, dimension_numbers=layout, precision=exact
    )
    return y + bias.astype(x.dtype)[None, None, None, :]


def max_pool(x: jax.Array, stride: int, side: int = 3) -> jax.Array:
    """Over side x side places: whole ones, or all at stride 1."""
    padding = "VALID" if stride > 1 else "SAME"
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, side, side, 1), (1, stride, stride, 1), padding)


def resized(pictures: Features, side: int, method: str) -> Features:
    """Pictures of side x side pixels, by "bilinear" or "bicubic" (a = -0.5), with antialiasing where they shrink.

    It is the resampling of Pillow, without its rounding.
    """
    if pictures.shape[1:3] == (side, side):
        return pictures
    size = (pictures.shape[0], side, side, pictures.shape[3])
    return jax.image.resize(pictures, size, method, antialias=True)
