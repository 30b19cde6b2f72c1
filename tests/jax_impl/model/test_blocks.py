"""Blocks against PyTorch's layers, with weights of their own."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from jax_impl.model.blocks import (
    BatchNorm,
    GroupNorm,
    conv3x3,
    depth_to_space,
    sinusoidal_embedding,
    space_to_depth,
    upsample_nearest,
)
from jax_impl.model.seed_unet import _max_pool


def pictures(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def to_torch(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


def to_nhwc(x: torch.Tensor) -> np.ndarray:
    return x.detach().numpy().transpose(0, 2, 3, 1)


@settings(max_examples=10)
@given(
    height=st.integers(1, 9), width=st.integers(1, 9), channels=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.sampled_from([1, 2]),
)  # fmt: skip
def test_conv(height: int, width: int, channels: tuple[int, int], stride: int) -> None:
    conv = conv3x3(*channels, nnx.Rngs(0), stride=stride)
    x = pictures((2, height, width, channels[0]))
    weight = torch.from_numpy(np.array(conv.kernel[...]).transpose(3, 2, 0, 1))
    expected = torch.nn.functional.conv2d(to_torch(x), weight, stride=stride, padding=1)
    np.testing.assert_allclose(conv(jnp.asarray(x)), to_nhwc(expected), atol=1e-5)


@pytest.mark.parametrize("train", [True, False])
def test_batch_norm_and_its_statistics(train: bool) -> None:
    x = pictures((3, 4, 5, 6)) * 2 + 1
    ours, theirs = BatchNorm(6), torch.nn.BatchNorm2d(6)
    for step in range(3):
        batch = x * (1 + step)
        theirs.train(train)
        expected = theirs(to_torch(batch))
        np.testing.assert_allclose(ours(jnp.asarray(batch), train=train), to_nhwc(expected), atol=1e-5)
    np.testing.assert_allclose(ours.mean[...], theirs.running_mean.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours.var[...], theirs.running_var.numpy(), rtol=1e-5)


def test_batch_norm_of_a_single_value_stays_finite() -> None:
    norm = BatchNorm(2)
    assert np.isfinite(norm(jnp.ones((1, 1, 1, 2)), train=True)).all()
    assert np.isfinite(norm.var[...]).all()


@pytest.mark.parametrize(("channels", "groups"), [(8, 4), (8, 8), (6, 1)])
def test_group_norm(channels: int, groups: int) -> None:
    x = pictures((2, 3, 5, channels)) * 3 + 10
    expected = torch.nn.GroupNorm(groups, channels)(to_torch(x))
    np.testing.assert_allclose(GroupNorm(channels, groups, nnx.Rngs(0))(jnp.asarray(x)), to_nhwc(expected), atol=1e-5)


@settings(max_examples=15)  # Each shape is compiled, and there are not many.
@given(patch=st.sampled_from([1, 2, 4]), rows=st.integers(1, 3), columns=st.integers(1, 3), channels=st.integers(1, 4))
def test_folding_pixels(patch: int, rows: int, columns: int, channels: int) -> None:
    x = pictures((2, rows * patch, columns * patch, channels))
    folded = space_to_depth(jnp.asarray(x), patch)
    np.testing.assert_array_equal(folded, to_nhwc(torch.pixel_unshuffle(to_torch(x), patch)))
    np.testing.assert_array_equal(depth_to_space(folded, patch), x)


def test_upsampling() -> None:
    x = pictures((2, 3, 4, 5))
    expected = torch.nn.functional.interpolate(to_torch(x), scale_factor=2.0, mode="nearest")
    np.testing.assert_array_equal(upsample_nearest(jnp.asarray(x)), to_nhwc(expected))


def test_embedding_tells_timesteps_apart() -> None:
    with jax.enable_x64(True):
        emb = np.asarray(sinusoidal_embedding(jnp.arange(1000), 32, jnp.float64))
    assert emb.shape == (1000, 32)
    assert np.abs(emb).max() <= 1.0
    np.testing.assert_allclose(emb[:, :16] ** 2 + emb[:, 16:] ** 2, 1.0)
    np.testing.assert_allclose(emb[7, 0], np.sin(7.0))
    distances = np.linalg.norm(emb[None] - emb[:, None], axis=-1) + 10 * np.eye(1000)
    assert distances.min() > 0.5


def test_max_pool_hands_the_gradient_of_equal_pixels_to_the_same_one_as_torch() -> None:
    # Few different values: most windows hold their largest more than once, as after ReLU.
    x = np.random.default_rng(3).integers(0, 3, (2, 8, 9, 5)).astype(np.float32)
    x[0, 2, 2] = x[0, 3, 3] = x[1, 0, 1] = np.nan
    given = to_torch(x).requires_grad_()
    wanted = torch.nn.functional.max_pool2d(given, 2)
    y, pull = jax.vjp(jax.jit(_max_pool), x)
    np.testing.assert_array_equal(y, to_nhwc(wanted))
    g = pictures(y.shape)
    wanted.backward(to_torch(g))
    assert given.grad is not None
    np.testing.assert_array_equal(pull(g)[0], to_nhwc(given.grad))
