"""Conversions between eps, x0 and v come back where they started."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.edge.choices import Prediction
from jax_impl.diffusion.gaussian import DiffusionConfig, GaussianProcess
from jax_impl.diffusion.process import Published

PROCESS = DiffusionConfig().create()
SIGNAL, NOISE = np.sqrt(PROCESS.alphas_cumprod), np.sqrt(1 - PROCESS.alphas_cumprod)


def _pictures(seed: int) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.uniform(-1, 1, (3, 4, 5, 3))), jnp.asarray(rng.normal(size=(3, 4, 5, 3)))


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
@given(t=st.integers(0, 999), seed=st.integers(0, 100))
def test_the_true_output_gives_back_the_picture(prediction: Prediction, t: int, seed: int) -> None:
    with jax.enable_x64(True):
        x0, eps = _pictures(seed)
        process = DiffusionConfig(prediction=prediction).create()
        noised = process.corrupt(x0, x0, jnp.full(3, t), eps)
        output = process.target(x0, noised)
        back = process.to_x0(output, noised.x_t, noised.t)
        # 1/√ᾱ is up to 64,000 and multiplies the rounding of float64.
        np.testing.assert_allclose(back, x0, atol=1e-10)


def test_levels_are_those_of_each_timestep() -> None:
    t = jnp.asarray([0, 500, 999])
    picture = jnp.zeros((3, 2, 2, 3))
    signal, noise, _ = PROCESS.corrupt(picture, picture, t, picture).levels
    assert signal.shape == noise.shape == (3, 1, 1, 1)
    np.testing.assert_allclose(signal[:, 0, 0, 0], SIGNAL[[0, 500, 999]], rtol=1e-6)
    np.testing.assert_allclose(noise[:, 0, 0, 0], NOISE[[0, 500, 999]], rtol=1e-6)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_an_error_of_the_output_becomes_one_of_the_picture(prediction: Prediction) -> None:
    """By the weight that the levels say."""
    x0, eps = _pictures(0)
    process = DiffusionConfig(prediction=prediction).create()
    noised = process.corrupt(x0, x0, jnp.asarray([3, 400, 900]), eps)
    output = process.target(x0, noised)
    found = process.to_x0(output + 0.5, noised.x_t, noised.t) - process.to_x0(output, noised.x_t, noised.t)
    np.testing.assert_allclose(found, np.broadcast_to(0.5 * noised.levels.x0_from_output, x0.shape), rtol=1e-3)


def test_a_schedule_that_came_with_weights_is_kept() -> None:
    schedule = np.array([0.9, 0.5, 0.1])
    process = DiffusionConfig().create(Published(alphas_cumprod=schedule))
    assert isinstance(process, GaussianProcess) and process.timesteps == 3
    found = process.published()
    assert found.alphas_cumprod is schedule and found.tables is None


def test_noised_pictures_have_the_moments_of_the_forward_process() -> None:
    x0 = jnp.full((1, 64, 64, 3), 0.5)
    eps = jax.random.normal(jax.random.key(0), x0.shape)
    x_t = PROCESS.corrupt(x0, x0, jnp.asarray([400]), eps).x_t
    assert float(x_t.mean()) == pytest.approx(0.5 * SIGNAL[400], abs=0.03)
    assert float(x_t.std()) == pytest.approx(NOISE[400], rel=0.03)
