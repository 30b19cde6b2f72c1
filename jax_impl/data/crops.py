"""Random windows of the training pictures, which remember where in the picture they were."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jax_impl.model.coordinates import with_coordinates


def random_crops(key: jax.Array, cond: jax.Array, x0: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """Cut a window out of each pair of a batch, the same for both of its pictures, every position equally likely.

    (Wang et al. 2023, "Patch Diffusion", with windows of one size.)

    Args:
        key: a PRNG key; the result is a pure function of it and the pictures.
        cond: (batch, height, width, 3).
        x0: the same.
        size: side of the windows, pixels, at most height and width.

    Returns:
        cond (batch, size, size, 5), whose channels 4 and 5 are each pixel's place in the
        whole picture, and x0 (batch, size, size, 3).
    """
    batch, height, width, _ = cond.shape
    both = jnp.concatenate([with_coordinates(cond), x0], axis=-1)
    last = jnp.array([[height - size, width - size]])
    corners = jax.random.randint(key, (batch, 2), 0, last + 1)

    def window(pictures: jax.Array, corner: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(pictures, (corner[0], corner[1], 0), (size, size, both.shape[-1]))

    cut = jax.vmap(window)(both, corners)
    return cut[..., :5], cut[..., 5:]
