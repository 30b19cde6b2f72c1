"""The bridge has the marginals of its formula, its steps keep them, and its settings are checked."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from export.edge.errors import UserError
from jax_impl.diffusion.bridge import BRIDGE_SAMPLERS, BridgeConfig
from jax_impl.diffusion.losses.hybrid import min_snr
from tests.parity.mixtures import TARGETS

NOISE = 0.4
PROCESS = BridgeConfig(timesteps=1000, noise=NOISE).create()
PIXELS = 200_000
STANDARD_ERRORS = 5.0
"""How far a sample's mean and deviation may lie from the exact ones. The draws are fixed: no run is unlucky."""


def marginal(u: np.ndarray | float) -> np.ndarray:
    """Deviation of the noise in x_t, given x0 and the input picture: a bridge over 1, NOISE in the middle."""
    return NOISE * np.sqrt(1.0 - (2.0 * np.asarray(u) - 1.0) ** 2)


@pytest.mark.parametrize("t", [0, 99, 499, 899, 999])
def test_drawn_states_have_the_moments_of_the_formula(t: int) -> None:
    u, shape = (t + 1) / 1000, (1, PIXELS, 1, 1)
    eps = jax.random.normal(jax.random.key(t), shape)
    noised = PROCESS.corrupt(jnp.full(shape, 0.7), jnp.full(shape, -0.3), jnp.array([t]), eps)
    pixels, deviation = np.asarray(noised.x_t, np.float64), float(marginal(u))
    error = STANDARD_ERRORS * deviation / math.sqrt(PIXELS)
    assert pixels.mean() == pytest.approx((1 - u) * 0.7 - u * 0.3, abs=error + 1e-6)
    assert pixels.std() == pytest.approx(deviation, abs=error / math.sqrt(2) + 1e-6)
    assert float(noised.levels.signal[0, 0, 0, 0]) == pytest.approx(1 - u, abs=1e-6)


def test_it_ends_at_the_input_picture_and_begins_near_the_target() -> None:
    rng = np.random.default_rng(0)
    x0, cond, eps = (jnp.asarray(rng.uniform(-1, 1, (2, 4, 4, 3)), jnp.float32) for _ in range(3))
    noised = PROCESS.corrupt(x0, cond, jnp.array([999, 0]), eps)
    np.testing.assert_array_equal(noised.x_t[0], cond[0])
    np.testing.assert_allclose(noised.x_t[1], x0[1], atol=0.05)
    assert np.isfinite(min_snr(noised.levels, 5.0)).all() and float(min_snr(noised.levels, 5.0)[0, 0, 0, 0]) == 0.0


@pytest.mark.parametrize("steps", [2, 5, 1000])
@pytest.mark.parametrize("sampler", ["dbim", "i2sb"])
def test_steps_keep_the_marginals_where_x0_hat_is_x0(sampler: str, steps: int) -> None:
    """Mean and deviation of the next state, from those of this one."""
    plan = PROCESS.plan(steps, sampler)
    u = (plan.t + 1) / 1000
    after = np.append(u[1:], 0.0)
    # Weights of x0 and of the input picture in the next state's mean.
    x0 = plan.next_from_x0 + plan.next_from_x * (1 - u)
    source = plan.next_from_start + plan.next_from_x * u
    np.testing.assert_allclose(x0, 1 - after, atol=1e-12)
    np.testing.assert_allclose(source, after, atol=1e-12)
    deviation = np.sqrt((plan.next_from_x * marginal(u)) ** 2 + plan.noise**2)
    np.testing.assert_allclose(deviation, marginal(after), atol=1e-8)


def moments(steps: int) -> tuple[float, float]:
    """Mean and deviation of the pictures that i2sb draws of one input, -0.6, by the best denoiser of a Gaussian."""
    (_, (mean,), (width,)), source = TARGETS["gaussian"], -0.6
    plan = PROCESS.plan(steps, "i2sb")
    state, variance = source, 0.0
    for i, t in enumerate(plan.t):
        u = (t + 1) / 1000
        # x0_hat is mean + slope (x - its mean at u).
        slope = (1 - u) * width**2 / max(((1 - u) * width) ** 2 + float(marginal(u)) ** 2, 1e-300)
        x0 = mean + slope * (state - (1 - u) * mean - u * source)
        state = plan.next_from_x0[i] * x0 + plan.next_from_x[i] * state
        variance = (plan.next_from_x0[i] * slope + plan.next_from_x[i]) ** 2 * variance + plan.noise[i] ** 2
    return state, math.sqrt(variance)


def test_i2sb_draws_the_distribution_of_targets_in_the_limit() -> None:
    (_, (mean,), (width,)) = TARGETS["gaussian"]
    missing = {}
    for steps in (10, 20, 50, 100, 1000):
        found, deviation = moments(steps)
        assert found == pytest.approx(mean, abs=1e-9)
        missing[steps] = width - deviation
    # Of first order up to a logarithm: ten times the steps leave a fifth of the error.
    assert list(missing.values()) == sorted(missing.values(), reverse=True)
    assert 5.0 < missing[100] / missing[1000] < 10.0 and 0.0 < missing[1000] < 0.005


def test_its_tables_begin_at_the_input_picture_and_add_noise_as_they_say() -> None:
    tables = PROCESS.published().tables
    assert tables is not None and set(tables) == set(BRIDGE_SAMPLERS)
    for name, plans in tables.items():
        assert list(plans) == [1, 2, 4, 10, 20, 50]
        for steps, plan in plans.items():
            assert (plan.start_from_source, plan.start_from_noise, plan.source) == (1.0, 0.0, "cond")
            assert np.count_nonzero(plan.noise) == (steps - 1 if name == "i2sb" else min(steps - 1, 1))
            # The last step lands on x0_hat.
            assert (plan.next_from_x0[-1], plan.next_from_x[-1], plan.next_from_start[-1]) == (1.0, 0.0, 0.0)


def test_logsnr_moves_calls_towards_both_ends() -> None:
    even, by_snr = (PROCESS.plan(10, "dbim2", spacing=spacing) for spacing in ("trailing", "logsnr"))
    assert by_snr.t[0] == even.t[0] == 999
    assert by_snr.t[1] > even.t[1] and by_snr.t[-1] < even.t[-1]
    published = BridgeConfig(spacing="logsnr").create().published().tables
    assert (
        published is not None
        and published["dbim2"][10].t.tolist() == BridgeConfig().create().plan(10, "dbim2", spacing="logsnr").t.tolist()
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"noise": 0.0}, r"diffusion\.noise is 0\.0: choose a value above 0"),
        ({"noise": -1.0}, r"diffusion\.noise is -1\.0"),
        (
            {"cond_dropout": 0.1},
            r"diffusion\.cond_dropout is 0\.1: the process bridge starts from the input picture, which cannot be",
        ),
        ({"sample_steps": 2000}, r"diffusion\.sample_steps is 2000: choose 1 to diffusion\.timesteps \(1000\)"),
    ],
)
def test_its_settings_are_checked(settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        BridgeConfig(**settings)


def test_a_plan_that_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match="sampler 'ddim' is unknown; choose one of dbim, dbim2, i2sb"):
        PROCESS.plan(2, "ddim")
    with pytest.raises(UserError, match=r"eta 0\.5 belongs to ddim of gaussian diffusion; leave it out"):
        PROCESS.plan(2, "dbim", 0.5)
    with pytest.raises(UserError, match=r"steps 0 is outside 1 \.\.\. 1000"):
        PROCESS.plan(0, "dbim")
