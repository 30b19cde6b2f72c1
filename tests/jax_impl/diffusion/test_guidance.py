"""Guidance in JAX, torch and numpy, beside its formula."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from export.edge import guidance as edge
from export.edge.errors import UserError
from jax_impl.config import DiffusionConfig
from jax_impl.diffusion.guidance import HIDDEN, guided
from jax_impl.draw import Wishes, resolve
from torch_ref import guidance as reference


def denoise(x_t, cond, t):
    """Some function of all three that numpy, JAX and torch compute alike; nonlinear, so that hiding is not a shift."""
    return x_t * t.reshape(-1, 1, 1, 1) * 0.001 + cond * cond - cond / 3


@pytest.fixture
def inputs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(2, 4, 4, 3)), rng.uniform(-1, 1, (2, 4, 4, 3)), np.array([3, 700])


@pytest.mark.parametrize("scale", [0.0, 1.0, 1.5, 4.0])
def test_three_implementations_agree(inputs: tuple[np.ndarray, ...], scale: float) -> None:
    x_t, cond, t = inputs
    expected = denoise(x_t, 0 * cond, t) + scale * (denoise(x_t, cond, t) - denoise(x_t, 0 * cond, t))
    in_torch = reference.guided(denoise, scale)(*map(torch.from_numpy, inputs)).numpy()
    np.testing.assert_allclose(edge.guided(denoise, scale)(x_t, cond, t), expected, atol=1e-12)
    np.testing.assert_allclose(in_torch, expected, atol=1e-12)
    with jax.enable_x64(True):
        found = guided(denoise, scale)(*map(jnp.asarray, inputs))
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert HIDDEN == edge.HIDDEN == reference.HIDDEN


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
    assert resolve(DiffusionConfig(cond_dropout=0.1, guidance=2.0), Wishes(guidance=3.0)).guidance == 3.0
    with pytest.raises(UserError, match="hid none; leave it at 1"):
        resolve(DiffusionConfig(), Wishes(guidance=3.0))
