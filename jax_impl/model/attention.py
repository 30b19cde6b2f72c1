"""Attention over the positions of a picture's features, and the features of cond that it may look at."""

from __future__ import annotations

import itertools
import math
from typing import cast

import jax
import jax.numpy as jnp
from flax import nnx

from jax_impl.model.blocks import Dtype, GroupNorm, conv1x1, conv3x3, space_to_depth, wider
from jax_impl.shapes import Array, Cond, Features, Float


def attend(
    q: Float[Array, "batch queries heads channels"],
    k: Float[Array, "batch keys heads channels"],
    v: Float[Array, "batch keys heads channels"],
) -> Float[Array, "batch queries heads channels"]:
    """softmax(q kᵀ / √channels) v for every head (Vaswani et al. 2017, eq. 1).

    q: (batch, queries, heads, channels); k, v: (batch, keys, heads, channels). The
    output has q's shape and v's dtype; logits and softmax are float32 or more.
    (`jax.nn.dot_product_attention` takes its softmax in float32 even under float64.)
    """
    wide = wider(q.dtype, jnp.dtype(jnp.float32))
    logits = jnp.einsum("bqhc,bkhc->bhqk", q, k, preferred_element_type=wide) / math.sqrt(q.shape[-1])
    return jnp.einsum("bhqk,bkhc->bqhc", jax.nn.softmax(logits, axis=-1).astype(v.dtype), v)


class Attention(nnx.Module):
    """Multi-head self-attention with a residual path (Ho et al. 2020, appendix B), which begins as the identity.

    With `context_channels` the keys and values of a context are appended to its own, so
    that one softmax weighs both (Nichol et al. 2022, section 3): cross-attention for the
    price of one more 1×1 convolution on few positions.
    """

    def __init__(
        self,
        channels: int,
        head_channels: int,
        groups: int,
        rngs: nnx.Rngs,
        *,
        context_channels: int | None = None,
        dtype: Dtype = None,
    ) -> None:
        self.head_channels = head_channels
        self.norm = GroupNorm(channels, groups, rngs)
        self.qkv = conv1x1(channels, 3 * channels, rngs, dtype=dtype)
        self.context = conv1x1(context_channels, 2 * channels, rngs, dtype=dtype) if context_channels else None
        self.out = conv1x1(channels, channels, rngs, zero=True, dtype=dtype)

    def __call__(
        self,
        x: Features,
        context: Float[Array, "batch rows columns context_channels"] | None = None,
    ) -> Features:
        """x (batch, height, width, channels), context (batch, any, any, context_channels); returns x's shape."""
        q, k, v = self._heads(self.qkv(self.norm(x)), 3)
        if self.context is not None:
            context_k, context_v = self._heads(self.context(cast(jax.Array, context)), 2)
            k, v = jnp.concatenate([k, context_k], axis=1), jnp.concatenate([v, context_v], axis=1)
        return x + self.out(attend(q, k, v).reshape(x.shape))

    def _heads(self, x: jax.Array, parts: int) -> list[jax.Array]:
        """(b, h, w, parts · heads · channels) as `parts` arrays (b, h · w, heads, channels)."""
        b, h, w, c = x.shape
        heads = c // (parts * self.head_channels)
        return list(jnp.moveaxis(x.reshape(b, h * w, parts, heads, self.head_channels), 2, 0))


class CondEncoder(nnx.Module):
    """Features of the guiding picture at the network's lowest resolution, for attention to look at.

    A stem like the network's own, then one strided convolution per level. They see
    neither x_t nor the time: where x_t is all noise, they still show what is in cond,
    and where it is if cond has coordinates.
    """

    def __init__(
        self,
        channels: list[int],
        patch: int,
        groups: int,
        rngs: nnx.Rngs,
        *,
        cond_channels: int = 3,
        dtype: Dtype = None,
    ) -> None:
        """`channels`: of each level, the first one at 1/patch of the side; `cond_channels`: of cond."""
        self.patch = patch
        self.stem = conv3x3(cond_channels * patch * patch, channels[0], rngs, dtype=dtype)
        steps = list(itertools.pairwise(channels))
        self.norms = nnx.List([GroupNorm(c, groups, rngs) for c in channels])
        self.convs = nnx.List([conv3x3(before, after, rngs, stride=2, dtype=dtype) for before, after in steps])

    def __call__(self, cond: Cond) -> Float[Array, "batch rows columns channels"]:
        """cond (batch, height, width, any) to (batch, height/m, width/m, channels[-1]), m = patch · 2^(levels-1)."""
        x = self.stem(space_to_depth(cond, self.patch))
        for norm, conv in zip(self.norms, self.convs, strict=False):
            x = conv(nnx.silu(norm(x)))
        return self.norms[-1](x)
