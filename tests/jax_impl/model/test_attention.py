"""Attention: its formula in torch's words, and what it looks at."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from jax_impl.model.attention import Attention, CondEncoder, attend


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@settings(max_examples=4)
@given(queries=st.integers(1, 7), keys=st.integers(1, 9), heads=st.integers(1, 3), channels=st.integers(1, 5))
def test_attend_is_what_torch_calls_scaled_dot_product(queries: int, keys: int, heads: int, channels: int) -> None:
    q, k, v = draw(2, queries, heads, channels), draw(2, keys, heads, channels), draw(2, keys, heads, channels, seed=1)
    in_torch = (torch.from_numpy(array).transpose(1, 2) for array in (3 * q, 3 * k, v))
    expected = torch.nn.functional.scaled_dot_product_attention(*in_torch).transpose(1, 2)
    np.testing.assert_allclose(jax.jit(attend)(3 * q, 3 * k, v), expected, atol=1e-5)


def test_softmax_is_float32_under_bfloat16() -> None:
    """Two keys whose logits, 256 and 255, are one and the same number in bfloat16 after a rounding."""
    q = jnp.full((1, 1, 1, 1), 256.0, jnp.bfloat16)
    k = jnp.asarray([[[[1.0]], [[1.0 - 2**-8]]]], jnp.bfloat16)
    v = jnp.asarray([[[[1.0]], [[0.0]]]], jnp.bfloat16)
    out = jax.jit(attend)(q, k, v)
    assert out.dtype == jnp.bfloat16
    assert float(out[0, 0, 0, 0]) == pytest.approx(1 / (1 + np.exp(-1.0)), abs=4e-3)


def test_every_position_sees_every_other_and_the_context() -> None:
    attention = Attention(4, 2, 1, nnx.Rngs(0), context_channels=3)
    attention.out.kernel[...] = jnp.asarray(draw(1, 1, 4, 4, seed=9))
    x, context = jnp.asarray(draw(1, 3, 3, 4)), jnp.asarray(draw(1, 2, 2, 3, seed=2))
    of_x, of_context = jax.jit(
        jax.grad(lambda x, context: jnp.sum(attention(x, context)[0, 0, 0] * jnp.arange(1.0, 5.0)), argnums=(0, 1))
    )(x, context)
    for gradient in (of_x, of_context):
        assert (np.abs(gradient).max(axis=-1) > 1e-6).all()


@pytest.mark.parametrize("levels", [1, 3])
def test_the_encoder_reaches_the_lowest_resolution(levels: int) -> None:
    encoder = nnx.eval_shape(lambda: CondEncoder([4, 6, 8][:levels], 2, 2, nnx.Rngs(0)))
    side = 2 * 2 ** (levels - 1)
    features = nnx.eval_shape(lambda encoder, cond: encoder(cond), encoder, jnp.zeros((2, side, 3 * side, 3)))
    assert features.shape == (2, 1, 3, [4, 6, 8][levels - 1])
