"""The affine head: each output colour as a local affine function of the input pictures' colours."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

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

    Coefficients are never brought to the size of the picture, which would hold `terms` numbers
    a pixel. Between the centres of four blocks all pixels share the four corners, so the
    changes of all four are one small matrix product, and what is interpolated is the colours.
    """
    b, rows, columns, _ = coefficients.shape
    channels, levels = cond.shape[-1], BINS if head == "bilateral" else 1
    sources = (x_t, cond) if head == "affine" else (cond,)
    terms = _cells(jnp.concatenate([*sources, jnp.ones_like(cond[..., :1])], axis=-1), patch)
    weights = coefficients.reshape(b, rows, columns, levels, channels, -1).swapaxes(-1, -2)
    weights = weights.reshape(b, rows, columns, -1, channels)
    if head == "bilateral":
        bins = _cells(brightness_bins(cond), patch)
        terms = (bins[..., None] * terms[..., None, :]).reshape(*terms.shape[:-1], -1)
    padded = jnp.pad(weights, ((0, 0), (1, 1), (1, 1), (0, 0), (0, 0)), mode="edge")
    # Of the blocks above left, above right, below left and below right of each cell.
    corners = [padded[:, i : i + rows + 1, j : j + columns + 1] for i in (0, 1) for j in (0, 1)]
    changes = jnp.matmul(terms, jnp.concatenate(corners, axis=-1), precision=jax.lax.Precision.HIGHEST)
    changes = changes.reshape(*terms.shape[:-1], len(corners), channels)
    shares = jnp.asarray(_corner_shares(patch).reshape(1, 1, 1, -1, len(corners), 1), cond.dtype)
    mixed = jnp.sum(shares * changes, axis=-2)
    return cond + _from_cells(mixed, patch)


def _cells(picture: Features, patch: int) -> Float[Array, "batch cell_rows cell_columns pixels channels"]:
    """The pixels between the centres of each four neighbouring blocks; beyond the picture's edge, zeros."""
    before, after = patch - patch // 2, patch // 2
    padded = jnp.pad(picture, ((0, 0), (before, after), (before, after), (0, 0)))
    b, height, width, channels = padded.shape
    split = padded.reshape(b, height // patch, patch, width // patch, patch, channels).transpose(0, 1, 3, 2, 4, 5)
    return split.reshape(b, height // patch, width // patch, patch * patch, channels)


def _from_cells(cells: Float[Array, "batch cell_rows cell_columns pixels channels"], patch: int) -> Features:
    """The inverse of `_cells`: without what lies beyond the picture's edge."""
    b, rows, columns, _, channels = cells.shape
    joined = cells.reshape(b, rows, columns, patch, patch, channels).transpose(0, 1, 3, 2, 4, 5)
    before, after = patch - patch // 2, patch // 2
    whole = joined.reshape(b, rows * patch, columns * patch, channels)
    return whole[:, before : rows * patch - after, before : columns * patch - after]


def _corner_shares(patch: int) -> np.ndarray:
    """(pixels, corners): the share of each of a cell's four corners in each of its pixels; a pixel's add up to 1."""
    below = (np.arange(patch) + 0.5 + patch // 2) / patch - 0.5
    line = np.stack([1.0 - below, below], axis=-1)
    return (line[:, None, :, None] * line[None, :, None, :]).reshape(patch * patch, 4)


def brightness_bins(picture: Features) -> Float[Array, "batch height width bins"]:
    """Weight of each of BINS brightness levels at each pixel of a picture in [-1, 1]; the two nearest share 1."""
    bright = jnp.clip(0.5 * jnp.mean(picture, axis=-1, keepdims=True) + 0.5, 0.0, 1.0)
    levels = jnp.arange(BINS, dtype=picture.dtype).reshape(1, 1, 1, BINS)
    return jnp.maximum(1.0 - jnp.abs((BINS - 1) * bright - levels), 0.0)
