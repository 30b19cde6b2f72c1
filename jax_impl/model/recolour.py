"""The affine head: each output colour as a local affine function of the input pictures' colours."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jax_impl.shapes import Array, Float, Pictures

AFFINE_TERMS = 7
"""Three channels of x_t, three of cond, and a constant; without x_t three less."""


def recolour(
    coefficients: Float[Array, "batch rows columns terms"],
    sources: tuple[Pictures, ...],
    cond: Pictures,
    patch: int,
) -> Pictures:
    """A local affine colour change of x_t and cond, the `sources`, or of cond alone, (batch, height, width, 3).

    coefficients: (batch, height/patch, width/patch, 3 · terms), for each output channel the weights of the sources'
    channels, and a constant, as departures from copying cond. They are interpolated bilinearly, so colours change
    smoothly while edges stay those of the pictures (bilateral guided upsampling, Chen et al. 2016, without its guide;
    Gharbi et al. 2017).
    """
    b, h, w, c = coefficients.shape
    weights = jax.image.resize(coefficients, (b, h * patch, w * patch, c), "linear")
    weights = weights.reshape(b, h * patch, w * patch, 3, c // 3)
    terms = jnp.concatenate([*sources, jnp.ones_like(cond[..., :1])], axis=-1)
    return cond + jnp.sum(weights * terms[..., None, :], axis=-1)
