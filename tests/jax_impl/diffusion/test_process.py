"""Conversions between eps, x0 and v come back where they started."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.edge.sampling.table import Prediction
from jax_impl.config.tree import DiffusionConfig
from jax_impl.diffusion.process import levels_at, q_sample, target, to_x0
from jax_impl.diffusion.schedule import Levels, alphas_cumprod

LEVELS = Levels.of(alphas_cumprod(DiffusionConfig()))


def _pictures(seed: int) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.uniform(-1, 1, (3, 4, 5, 3))), jnp.asarray(rng.normal(size=(3, 4, 5, 3)))


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
@given(t=st.integers(0, 999), seed=st.integers(0, 100))
def test_the_true_output_gives_back_the_picture(prediction: Prediction, t: int, seed: int) -> None:
    with jax.enable_x64(True):
        x0, eps = _pictures(seed)
        signal, noise = levels_at(LEVELS, jnp.full(3, t), jnp.float64)
        x_t = q_sample(x0, eps, signal, noise)
        output = target(prediction, x0, eps, signal, noise)
        back = to_x0(prediction, output, x_t, signal, noise)
        # 1/√ᾱ is up to 64,000 and multiplies the rounding of float64.
        np.testing.assert_allclose(back, x0, atol=1e-10)


def test_levels_are_those_of_each_timestep() -> None:
    t = jnp.asarray([0, 500, 999])
    signal, noise = levels_at(LEVELS, t, jnp.float32)
    assert signal.shape == noise.shape == (3, 1, 1, 1)
    np.testing.assert_allclose(signal[:, 0, 0, 0], LEVELS.signal[[0, 500, 999]], rtol=1e-6)
    np.testing.assert_allclose(noise[:, 0, 0, 0], LEVELS.noise[[0, 500, 999]], rtol=1e-6)


def test_noised_pictures_have_the_moments_of_the_forward_process() -> None:
    x0 = jnp.full((1, 64, 64, 3), 0.5)
    eps = jax.random.normal(jax.random.key(0), x0.shape)
    signal, noise = levels_at(LEVELS, jnp.asarray([400]), jnp.float32)
    x_t = q_sample(x0, eps, signal, noise)
    assert float(x_t.mean()) == pytest.approx(0.5 * LEVELS.signal[400], abs=0.03)
    assert float(x_t.std()) == pytest.approx(LEVELS.noise[400], rel=0.03)
