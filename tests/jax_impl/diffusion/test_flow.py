"""The flow runs along straight lines, and its settings are checked."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from export.edge.errors import UserError
from jax_impl.diffusion.flow import FLOW_SAMPLERS, FlowConfig
from jax_impl.diffusion.losses.hybrid import min_snr

PROCESS = FlowConfig(start_noise=0.4).create()
PIXELS = 200_000


@pytest.mark.parametrize("t", [0, 499, 999])
def test_drawn_states_have_the_moments_of_the_formula(t: int) -> None:
    u, shape = (t + 1) / 1000, (1, PIXELS, 1, 1)
    eps = jax.random.normal(jax.random.key(t), shape)
    noised = PROCESS.corrupt(jnp.full(shape, 0.7), jnp.full(shape, -0.3), jnp.array([t]), eps)
    pixels = np.asarray(noised.x_t, np.float64)
    error = 5.0 * 0.4 * u / math.sqrt(PIXELS)
    assert pixels.mean() == pytest.approx((1 - u) * 0.7 - u * 0.3, abs=error + 1e-6)
    assert pixels.std() == pytest.approx(0.4 * u, abs=error / math.sqrt(2) + 1e-6)


@pytest.mark.parametrize("prediction", ["x0", "velocity"])
def test_a_network_that_is_right_leads_straight_to_the_target(prediction: Any) -> None:
    """Whatever the sampler and the number of steps: the line has no error to make."""
    process = FlowConfig(start_noise=0.4, prediction=prediction).create()
    rng = np.random.default_rng(0)
    x0, cond, eps = rng.uniform(-1, 1, (3, 1, 4, 4, 3))
    with jax.enable_x64(True):
        noised = process.corrupt(jnp.asarray(x0), jnp.asarray(cond), jnp.array([500]), jnp.asarray(eps))
        output = np.asarray(process.target(jnp.asarray(x0), noised))
        np.testing.assert_allclose(process.to_x0(jnp.asarray(output), noised.x_t, noised.t), x0, atol=1e-12)
    start = cond + 0.4 * eps
    for sampler in FLOW_SAMPLERS:
        for steps in (1, 2, 7):
            plan = process.plan(steps, sampler)
            assert len(plan) == (2 * steps - 1 if sampler == "heun" else steps)
            x, before = start, 0.0 * start
            for i, t in enumerate(plan.t):
                u = (t + 1) / 1000
                np.testing.assert_allclose(x, (1 - u) * x0 + u * start, atol=1e-12)
                x0_hat = plan.x0_from_x[i] * x + plan.x0_from_output[i] * output
                x = plan.next_from_x0[i] * x0_hat + plan.next_from_x[i] * x + plan.next_from_previous[i] * before
                before = x0_hat
            np.testing.assert_allclose(x, x0, atol=1e-12)
            assert not plan.noise.any() and (plan.start_from_source, plan.start_from_noise) == (1.0, 0.4)


def test_weights_by_snr_are_finite_with_and_without_noise() -> None:
    x0 = jnp.zeros((2, 2, 2, 3))
    for start_noise in (0.0, 0.4):
        for prediction in ("x0", "velocity"):
            process = FlowConfig(start_noise=start_noise, prediction=prediction).create()
            levels = process.corrupt(x0, x0, jnp.array([0, 999]), x0).levels
            assert np.isfinite(min_snr(levels, 5.0)).all()


def test_its_tables_travel_for_every_sampler() -> None:
    tables = PROCESS.published().tables
    assert tables is not None and set(tables) == set(FLOW_SAMPLERS)
    assert all(list(plans) == [1, 2, 4, 10, 20, 50] for plans in tables.values())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start_noise": -0.1}, r"diffusion\.start_noise is -0\.1: choose 0 or more"),
        (
            {"cond_dropout": 0.1},
            r"diffusion\.cond_dropout is 0\.1: the process flow starts from the input picture, which cannot be hidden",
        ),
    ],
)
def test_its_settings_are_checked(settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        FlowConfig(**settings)


def test_a_plan_that_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match="sampler 'dbim' is unknown; choose one of euler, heun, ab2"):
        PROCESS.plan(2, "dbim")
    with pytest.raises(UserError, match=r"eta 0\.5 belongs to ddim of gaussian diffusion; leave it out"):
        PROCESS.plan(2, "euler", 0.5)
