"""Guidance in JAX, torch and numpy, beside its formula."""

from __future__ import annotations

from contextlib import nullcontext

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from export.edge.errors import UserError
from export.edge.sampling import guidance as edge
from jax_impl.config.tree import Config, DiffusionConfig
from jax_impl.diffusion.guidance import HIDDEN, guided
from jax_impl.diffusion.sampling import SamplingOptions, resolve
from jax_impl.model.network import outline
from jax_impl.training.objective import Problem
from torch_ref import guidance as reference


def denoise(x_t, cond, t):
    """Some function of all three that numpy, JAX and torch compute alike; nonlinear, so that hiding is not a shift."""
    return x_t * t.reshape(-1, 1, 1, 1) * 0.001 + cond * cond - cond / 3


def denoise_at(x_t, cond, t):
    """The same, which also asks where each pixel lies; channels last."""
    return denoise(x_t, cond[..., :3], t) * (2 + cond[..., 3:4] - cond[..., 4:])


@pytest.fixture
def inputs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(2, 4, 4, 3)), rng.uniform(-1, 1, (2, 4, 4, 3)), np.array([3, 700])


@pytest.mark.parametrize("scale", [0.0, 1.0, 1.5, 4.0])
def test_three_implementations_agree(inputs: tuple[np.ndarray, ...], scale: float) -> None:
    x_t, cond, t = inputs
    expected = denoise(x_t, 0 * cond, t) + scale * (denoise(x_t, cond, t) - denoise(x_t, 0 * cond, t))
    first, second = (torch.from_numpy(a).permute(0, 3, 1, 2) for a in (x_t, cond))
    in_torch = reference.guided(denoise, scale)(first, second, torch.from_numpy(t)).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(edge.guided(denoise, scale)(x_t, cond, t), expected, atol=1e-12)
    np.testing.assert_allclose(in_torch, expected, atol=1e-12)
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):  # The function mixes t with the pictures.
        found = guided(denoise, scale)(*map(jnp.asarray, inputs))
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert HIDDEN == edge.HIDDEN == reference.HIDDEN


def test_where_pixels_lie_is_never_hidden(inputs: tuple[np.ndarray, ...]) -> None:
    x_t, cond, t = inputs
    places = np.random.default_rng(1).uniform(-1, 1, (*cond.shape[:3], 2))
    shown, hidden = (np.concatenate([picture, places], axis=-1) for picture in (cond, 0 * cond))
    expected = denoise_at(x_t, hidden, t) + 3.0 * (denoise_at(x_t, shown, t) - denoise_at(x_t, hidden, t))
    np.testing.assert_allclose(edge.guided(denoise_at, 3.0)(x_t, shown, t), expected, atol=1e-12)
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):  # The function mixes t with the pictures.
        found = guided(denoise_at, 3.0)(*map(jnp.asarray, (x_t, shown, t)))
    np.testing.assert_allclose(found, expected, atol=1e-12)

    def channels_last(x_t: torch.Tensor, cond: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return denoise_at(x_t.permute(0, 2, 3, 1), cond.permute(0, 2, 3, 1), t)

    tensors = (torch.from_numpy(a).permute(0, 3, 1, 2) for a in (x_t, shown))
    in_torch = reference.guided(channels_last, 3.0)(*tensors, torch.from_numpy(t))
    np.testing.assert_allclose(in_torch.numpy(), expected, atol=1e-12)


def test_a_scale_of_one_costs_nothing() -> None:
    assert guided(denoise, 1.0) is denoise
    assert edge.guided(denoise, 1.0) is denoise
    assert reference.guided(denoise, 1.0) is denoise


def test_float32_stays_float32(inputs: tuple[np.ndarray, ...]) -> None:
    x_t, cond, t = inputs
    assert edge.guided(lambda x, c, t: x + c, 2.0)(np.float32(x_t), np.float32(cond), t).dtype == np.float32


@pytest.mark.parametrize("scale", [-1.0, float("nan"), float("inf")])
def test_no_scale(scale: float) -> None:
    with pytest.raises(UserError, match="is no scale"):
        edge.check_guidance(scale, 0.1)


def test_only_weights_that_met_hidden_pictures_can_be_guided() -> None:
    edge.check_guidance(1.0, 0.0)
    edge.check_guidance(2.0, 0.1)
    with pytest.raises(UserError, match="hid none; leave it at 1"):
        edge.check_guidance(2.0, 0.0)
    options = SamplingOptions(guidance=3.0)
    for diffusion, refused in ((DiffusionConfig(cond_dropout=0.1, guidance=2.0), False), (DiffusionConfig(), True)):
        config = Config(diffusion=diffusion)
        problem = Problem.of(outline(config)[0], config)
        with pytest.raises(UserError, match="hid none; leave it at 1") if refused else nullcontext():
            assert resolve(problem, options).guidance == 3.0
