"""The affine head: each output colour as a local affine function of the input pictures' colours."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jax_impl.shapes import Array, Features, Float


def affine_weights(channels: int, sources: int = 2) -> int:
    """Numbers of the head for a pixel: for every channel the weights of each source's channels, and a constant."""
    return channels * (sources * channels + 1)


def recolour(
    coefficients: Float[Array, "batch rows columns terms"],
    sources: tuple[Features, ...],
    cond: Features,
    patch: int,
) -> Features:
    """A local affine colour change of x_t and cond, the `sources`, or of cond alone, (batch, height, width, channels).

    coefficients: (batch, height/patch, width/patch, affine_weights(channels, sources)), for each
    output channel the weights of the sources' channels, and a constant, as departures from
    copying cond. They are interpolated bilinearly, so colours change smoothly while
    edges stay those of the pictures (bilateral guided upsampling, Chen et al. 2016,
    without its guide; Gharbi et al. 2017).
    """
    b, h, w, c = coefficients.shape
    weights = jax.image.resize(coefficients, (b, h * patch, w * patch, c), "linear")
    weights = weights.reshape(b, h * patch, w * patch, cond.shape[-1], -1)
    terms = jnp.concatenate([*sources, jnp.ones_like(cond[..., :1])], axis=-1)
    return cond + jnp.sum(weights * terms[..., None, :], axis=-1)
