"""Where each pixel lies in the whole picture, as two more channels of cond (Wang et al. 2023, "Patch Diffusion")."""

from __future__ import annotations

import jax.numpy as jnp

from export.edge.sampling.coordinates import centres
from jax_impl.shapes import Array, Features, Float


def with_coordinates(cond: Features) -> Float[Array, "batch height width 5"]:
    """cond (batch, height, width, 3) with each pixel's height, then width, as channels 4 and 5, -1 to 1.

    One that has five channels, a part of a larger picture, comes back as it is.
    """
    if cond.shape[-1] != 3:
        return cond
    batch, height, width, _ = cond.shape
    rows, columns = (jnp.asarray(centres(count), cond.dtype) for count in (height, width))
    grid = jnp.stack(jnp.meshgrid(rows, columns, indexing="ij"), axis=-1)
    return jnp.concatenate([cond, jnp.broadcast_to(grid, (batch, height, width, 2))], axis=-1)
