"""The affine head: each output colour as a local affine function of the input pictures' colours."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from jax_impl.shapes import Array, Features, Float

Head = Literal["plain", "affine", "affine_cond", "bilateral"]
BINS = 8
"""Brightness levels of the bilateral head, from black to white."""


def head_weights(head: Head, channels: int) -> int:
    """Numbers of a head for a pixel: for every channel the weights of each source's channels, and a constant.

    The sources are x_t and cond for `affine`, cond for the others. `bilateral` has so many for each of its BINS,
    `plain` none.
    """
    if head == "plain":
        return 0
    sources, sets = 2 if head == "affine" else 1, BINS if head == "bilateral" else 1
    return sets * channels * (sources * channels + 1)


def recolour(
    head: Head, coefficients: Float[Array, "batch rows columns terms"], x_t: Features, cond: Features, patch: int
) -> Features:
    """A local affine colour change of cond, of x_t too for `affine`; pictures (batch, height, width, channels).

    coefficients: (batch, height/patch, width/patch, head_weights(head, channels)), for each
    output channel the weights of the sources' channels, and a constant, as departures from
    copying cond. They are interpolated bilinearly between blocks, so colours change smoothly
    while edges stay those of the pictures. `bilateral` also interpolates them between
    brightness levels, by the mean of cond's channels at each pixel: what is bright may change in
    another way than what is dark beside it (bilateral guided upsampling, Chen et al. 2016;
    Gharbi et al. 2017, equations 3 and 5, with a fixed guide).
    """
    b, h, w, c = coefficients.shape
    weights = jax.image.resize(coefficients, (b, h * patch, w * patch, c), "linear")
    if head == "bilateral":
        weights = weights.reshape(*weights.shape[:3], BINS, -1)
        weights = jnp.sum(brightness_bins(cond)[..., None] * weights, axis=-2)
    weights = weights.reshape(b, h * patch, w * patch, cond.shape[-1], -1)
    sources = (x_t, cond) if head == "affine" else (cond,)
    terms = jnp.concatenate([*sources, jnp.ones_like(cond[..., :1])], axis=-1)
    return cond + jnp.sum(weights * terms[..., None, :], axis=-1)


def brightness_bins(picture: Features) -> Float[Array, "batch height width bins"]:
    """Weight of each of BINS brightness levels at each pixel of a picture in [-1, 1]; the two nearest share 1."""
    bright = jnp.clip(0.5 * jnp.mean(picture, axis=-1, keepdims=True) + 0.5, 0.0, 1.0)
    levels = jnp.arange(BINS, dtype=picture.dtype).reshape(1, 1, 1, BINS)
    return jnp.maximum(1.0 - jnp.abs((BINS - 1) * bright - levels), 0.0)
