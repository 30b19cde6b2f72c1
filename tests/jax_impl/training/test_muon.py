"""Muon against torch's and optax's, and against the singular values that define it."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from optax.contrib import MuonDimensionNumbers
from optax.contrib._muon import orthogonalize_via_newton_schulz

from jax_impl.config.tree import OptimConfig
from jax_impl.training.muon import COEFFICIENTS, orthogonal, scale_by_muon
from jax_impl.training.optim import learning_rate, make_optimizer

SHAPES = {"wide": (4, 9), "tall": (12, 5), "square": (6, 6), "kernel": (3, 3, 4, 7), "bias": (5,)}
CONFIG = OptimConfig(optimizer="muon", learning_rate=1e-2, weight_decay=0.1, clip_norm=0.0)


def drawn(seed: int) -> dict[str, np.ndarray]:
    """A value for each of SHAPES, float64."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape) for name, shape in SHAPES.items()}


def trained(config: OptimConfig, steps: int, dtype: str = "float64") -> dict[str, np.ndarray]:
    """The values of `drawn(0)` after steps along `drawn(1)`, `drawn(2)` and so on."""
    with jax.enable_x64(dtype == "float64"):
        optimizer = make_optimizer(config, learning_rate(config, 1, 1))
        params = {name: jnp.asarray(value, dtype) for name, value in drawn(0).items()}
        state, step = optimizer.init(params), jax.jit(optimizer.update)
        for n in range(steps):
            gradients = {name: jnp.asarray(value, dtype) for name, value in drawn(n + 1).items()}
            updates, state = step(gradients, state, params)
            params = optax.apply_updates(params, updates)
        return {name: np.asarray(value) for name, value in params.items()}


def test_ten_steps_of_matrices_against_torch() -> None:
    """Torch computes in bfloat16: 8 bits, and rounding that five iterations carry on."""
    before = drawn(0)
    theirs = {
        name: torch.nn.Parameter(torch.tensor(value).flatten(0, -2)) for name, value in before.items() if value.ndim > 1
    }
    muon = torch.optim.Muon(
        theirs.values(), lr=CONFIG.learning_rate, weight_decay=CONFIG.weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    for n in range(10):
        for name, parameter in theirs.items():
            parameter.grad = torch.tensor(drawn(n + 1)[name]).flatten(0, -2)
        muon.step()
    for name, ours in trained(CONFIG, 10).items():
        if name in theirs:
            wanted = theirs[name].detach().numpy().reshape(SHAPES[name])
            assert np.linalg.norm(ours - wanted) < 0.02 * np.linalg.norm(wanted - before[name]), name


def test_what_is_no_matrix_is_moved_by_adamw() -> None:
    adamw = trained(dataclasses.replace(CONFIG, optimizer="adamw"), 5)
    ours = trained(CONFIG, 5)
    np.testing.assert_array_equal(ours["bias"], adamw["bias"])
    assert all(np.abs(ours[name] - adamw[name]).max() > 1e-3 for name in SHAPES if name != "bias")


@pytest.mark.parametrize("name", [name for name in SHAPES if name != "bias"])
def test_the_iteration_against_optax(name: str) -> None:
    with jax.enable_x64(True):
        value = jnp.asarray(drawn(0)[name])
        dimensions = MuonDimensionNumbers(tuple(range(value.ndim - 1)), value.ndim - 1)
        wanted = orthogonalize_via_newton_schulz(
            value, jnp.asarray(COEFFICIENTS), eps=1e-7, dimension_numbers=dimensions
        )
        found = orthogonal(value.reshape(-1, value.shape[-1])).reshape(value.shape)
        np.testing.assert_allclose(found, wanted, atol=1e-11)


@pytest.mark.parametrize("shape", [(40, 12), (12, 40)], ids=["tall", "wide"])
def test_directions_stay_and_their_sizes_become_alike(shape: tuple[int, int]) -> None:
    """Over four decades of singular values, in float32."""
    rng = np.random.default_rng(0)
    left, _, right = np.linalg.svd(rng.normal(size=shape), full_matrices=False)
    sizes = np.logspace(0, -2, 12)
    found = np.asarray(orthogonal(jnp.asarray((left * sizes) @ right, jnp.float32)))
    moved = np.einsum("ik,ij,kj->k", left, found, right)
    assert moved.min() > 0.6 and moved.max() < 1.3
    np.testing.assert_allclose((left * moved) @ right, found, atol=1e-4)


@pytest.mark.parametrize("scale", [0.0, 1e-20, 1e20])
def test_no_size_of_a_gradient_gives_what_is_not_finite(scale: float) -> None:
    matrix = jnp.asarray(drawn(0)["tall"] * scale, jnp.float32)
    assert np.isfinite(orthogonal(matrix)).all()


def test_steps_are_about_as_long_as_those_of_adam() -> None:
    """The root mean square of both, in units of the learning rate: that is why they share it."""
    config = dataclasses.replace(CONFIG, weight_decay=0.0)
    before = drawn(0)
    for name, after in trained(config, 1).items():
        length = np.sqrt(np.mean((after - before[name]) ** 2)) / config.learning_rate
        assert 0.1 < length < (1.1 if name == "bias" else 0.3), name


def test_a_step_that_is_skipped_leaves_the_momentum() -> None:
    optimizer = scale_by_muon()
    params = {"w": jnp.ones((3, 2))}
    state = optimizer.init(params)
    _, kept = optimizer.update({"w": jnp.full((3, 2), jnp.nan)}, state, params, good=jnp.asarray(False))
    np.testing.assert_array_equal(kept.momentum["w"], state.momentum["w"])
    _, moved = optimizer.update({"w": jnp.ones((3, 2))}, state, params, good=jnp.asarray(True))
    np.testing.assert_allclose(moved.momentum["w"], 0.05, rtol=1e-6)
