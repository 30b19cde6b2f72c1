"""Samplers against the papers' formulas; their table is that of the edge, whose tests compare it with diffusers."""

from __future__ import annotations

import math
from fractions import Fraction
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from export.edge.choices import Prediction
from export.edge.errors import UserError
from export.edge.sampling.table import COLUMNS, Plan, coefficients
from jax_impl.config.as_json import from_json
from jax_impl.diffusion.gaussian import DiffusionConfig
from jax_impl.diffusion.process import Bound
from jax_impl.diffusion.samplers import Denoise, Sampled, bounded, noise_of, sample

ALPHAS = DiffusionConfig().create().alphas_cumprod
MEAN, STD = 0.3, 0.3
KEYS = jax.random.split(jax.random.key(0), 1)


def levels_at(t: jax.Array, dtype: Any) -> tuple[jax.Array, jax.Array]:
    """√ᾱ and √(1-ᾱ), each (batch, 1, 1, 1)."""
    signal, noise = (jnp.asarray(level, dtype)[t][:, None, None, None] for level in (ALPHAS**0.5, (1 - ALPHAS) ** 0.5))
    return signal, noise


def plan_of(prediction: Prediction, sampler: str, steps: int, eta: float = 0.0, spacing: str = "trailing") -> Plan:
    return DiffusionConfig(prediction=prediction).create().plan(steps, sampler, eta, spacing=spacing)


def walk(
    denoise: Denoise,
    x: Any,
    plan: Plan,
    noise: Any = KEYS,
    bound: Bound = Bound(),  # noqa: B008
    kept: Any = (),
) -> Sampled:
    """From x, guided by x; `noise`: keys (batch,), or the noise of every call."""
    x = jnp.asarray(x)
    keyed = noise.shape == (len(x),)
    step_noise = noise_of(noise, x.shape[1:], jnp.dtype(x.dtype)) if keyed else lambda call: jnp.asarray(noise)[call]
    return sample(denoise, x, x, plan, step_noise, bound, kept)


def gaussian_oracle(prediction: Prediction):
    """The best denoiser for pictures whose pixels are independent draws of N(MEAN, STD²)."""

    def denoise(x_t: jax.Array, cond: jax.Array, t: jax.Array) -> jax.Array:
        signal, noise = levels_at(t, x_t.dtype)
        x0 = MEAN + signal * STD**2 / (signal**2 * STD**2 + noise**2) * (x_t - signal * MEAN)
        eps = (x_t - signal * x0) / noise
        return {"eps": eps, "x0": x0, "v": signal * eps - noise * x0}[prediction]

    return denoise


def crude(prediction: Prediction, x: Any, t: Any, signal: Any, noise: Any, xp: ModuleType) -> Any:
    """An imperfect network: its eps_hat, and what it would say instead under another prediction."""
    eps = xp.tanh(0.9 * x - 0.001 * t)
    x0 = xp.sin(3.0 * x)
    return {"eps": eps, "x0": x0, "v": signal * eps - noise * x0}[prediction]


def original_loop(prediction: Prediction, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Algorithm 2 of Ho et al. 2020 with σ² = β, at timesteps that are not one apart; in the dtype of x."""
    number, total, steps = x.dtype.type, len(ALPHAS), len(z)
    for i in range(steps):
        t = math.floor(Fraction((total - 1) * (steps - 1 - i), steps - 1)) if steps > 1 else total - 1
        alpha = ALPHAS[t] / (ALPHAS[t - 1] if t > 0 else 1.0)
        signal, noise = number(np.sqrt(ALPHAS[t])), number(np.sqrt(1 - ALPHAS[t]))
        out = crude(prediction, x, number(t), signal, noise, np)
        eps = {"eps": out, "x0": (x - signal * out) / noise, "v": signal * out + noise * x}[prediction]
        x = (x - number((1 - alpha) / np.sqrt(1 - ALPHAS[t])) * eps) / number(np.sqrt(alpha))
        if t > 0:
            x = x + number(np.sqrt(1 - alpha)) * z[i]
    return x


def draw_original(prediction: Prediction, x: np.ndarray, z: np.ndarray) -> Sampled:
    def denoise(x_t: jax.Array, cond: jax.Array, t: jax.Array) -> jax.Array:
        signal, noise = levels_at(t, x_t.dtype)
        return crude(prediction, x_t, t[:, None, None, None].astype(x_t.dtype), signal, noise, jnp)

    process = DiffusionConfig(prediction=prediction).create()
    return walk(denoise, x, process.plan(len(z), "original"), z, process.bound("original"))


@pytest.mark.parametrize(
    ("prediction", "steps"), [("eps", 1), ("eps", 2), ("eps", 50), ("eps", 1000), ("x0", 20), ("v", 20)]
)
def test_the_original_loop_against_its_formula(prediction: Prediction, steps: int) -> None:
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(1, 6, 5, 3)), rng.normal(size=(steps, 1, 6, 5, 3))
    expected = original_loop(prediction, x, z)
    with jax.enable_x64(True):
        ours = Sampled(*map(np.asarray, draw_original(prediction, x, z)))
    scale = np.abs(expected).max()
    np.testing.assert_allclose(ours.x0, expected, rtol=0, atol=1e-12 * scale)
    if steps > 1:  # t = 0 is reached, and its step lands on the clean estimate, which nothing has clamped.
        np.testing.assert_array_equal(ours.x0, ours.x0_raw)
    if prediction == "eps":
        assert scale > 2.0


@pytest.mark.parametrize("steps", [1, 20, 250])
def test_the_original_loop_in_float32_rounds_no_more_than_its_formula(steps: int) -> None:
    """At t = 999 the clean estimate is 64,000 times too large, so a detour over it could cost digits."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 16, 16, 3)).astype(np.float32)
    z = rng.normal(size=(steps, *x.shape)).astype(np.float32)
    expected = original_loop("eps", x.astype(np.float64), z.astype(np.float64))
    ours, direct = np.asarray(draw_original("eps", x, z).x0), original_loop("eps", x, z)
    assert ours.dtype == direct.dtype == np.float32
    assert np.abs(ours - expected).max() < 3 * np.abs(direct - expected).max()


def test_the_original_loop_cannot_be_recommended_nor_run_on_the_device() -> None:
    with pytest.raises(UserError, match=r"diffusion\.sampler is 'original': choose one of ddim, ddpm, dpmpp, heun"):
        from_json('{"diffusion": {"sampler": "original"}}')
    with pytest.raises(UserError, match="'original' is unknown; choose one of ddim, ddpm, dpmpp, heun"):
        coefficients(ALPHAS, 10, "original", prediction="eps")


def test_ddpm_is_ddim_with_all_of_its_noise() -> None:
    ddpm, ddim = (plan_of("eps", *kind) for kind in (("ddpm", 37, 0.0), ("ddim", 37, 1.0)))
    for name in ("t", *COLUMNS):
        np.testing.assert_allclose(getattr(ddpm, name), getattr(ddim, name), rtol=1e-12, atol=1e-9)


def test_every_estimate_is_clamped() -> None:
    x = jax.random.normal(jax.random.key(0), (1, 8, 8, 3))

    def wild(x_t: jax.Array, cond: jax.Array, t: jax.Array) -> jax.Array:
        return -x_t

    bounded = walk(wild, x, plan_of("eps", "ddim", 10), kept=range(10))
    assert float(jnp.abs(bounded.x0).max()) <= 1.0
    assert float(jnp.abs(bounded.frames).max()) < 10.0
    assert float(jnp.abs(bounded.x0_raw).max()) > 1.0
    free = walk(wild, x, plan_of("eps", "ddim", 10), bound=Bound(None), kept=range(10))
    assert float(jnp.abs(free.frames).max()) > 1e3


def test_kept_frames_are_the_states_after_their_steps() -> None:
    x = jax.random.normal(jax.random.key(0), (1, 4, 4, 3))
    oracle = gaussian_oracle("x0")
    every = walk(oracle, x, plan_of("x0", "ddim", 8), kept=range(8))
    some = walk(oracle, x, plan_of("x0", "ddim", 8), kept=(2, 7))
    np.testing.assert_array_equal(some.frames, every.frames[np.array([2, 7])])
    np.testing.assert_array_equal(every.frames[-1], every.x0)


def test_noise_follows_from_the_key() -> None:
    x = jax.random.normal(jax.random.key(0), (1, 4, 4, 3))
    oracle = gaussian_oracle("eps")

    def run(key: int) -> jax.Array:
        return walk(oracle, x, plan_of("eps", "ddpm", 5), jax.random.split(jax.random.key(key), 1)).x0

    np.testing.assert_array_equal(run(1), run(1))
    assert float(jnp.abs(run(1) - run(2)).max()) > 0.1


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpmpp", "heun", "original"])
@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_steps_out_of_range(sampler: str, steps: int) -> None:
    with pytest.raises(UserError, match=rf"steps {steps} is outside 1 \.\.\. 1000"):
        plan_of("eps", sampler, steps)


def test_eta_out_of_range() -> None:
    with pytest.raises(UserError, match=r"eta 1\.5 is outside"):
        plan_of("eps", "ddim", 10, 1.5)


@pytest.mark.parametrize("sampler", ["ddpm", "dpmpp", "heun", "original"])
def test_eta_means_nothing_but_to_ddim(sampler: str) -> None:
    with pytest.raises(UserError, match=r"eta 0\.5 belongs to ddim"):
        plan_of("eps", sampler, 10, 0.5)


def test_the_table_is_the_one_that_runs_on_the_device() -> None:
    ours = plan_of("v", "heun", 8, spacing="logsnr")
    theirs = coefficients(ALPHAS, 8, "heun", prediction="v", spacing="logsnr")
    for name, column in vars(theirs).items():
        np.testing.assert_array_equal(getattr(ours, name), column)


def test_the_original_loop_has_its_own_timesteps() -> None:
    plans = [plan_of("eps", "original", 9, spacing=s) for s in ("trailing", "logsnr")]
    np.testing.assert_array_equal(plans[0].t, plans[1].t)


@pytest.mark.parametrize("share", [0.9, 0.995])
def test_dynamic_thresholding_is_that_of_diffusers_picture_by_picture(share: float) -> None:
    x0 = np.random.default_rng(2).normal(0, [[[[0.3]]], [[[1.0]]], [[[4.0]]]], (3, 9, 8, 3)).astype(np.float32)
    theirs = DDPMScheduler(thresholding=True, dynamic_thresholding_ratio=share, sample_max_value=1e6)
    expected = theirs._threshold_sample(torch.from_numpy(x0)).numpy()
    np.testing.assert_allclose(bounded(jnp.asarray(x0), 1.0, share), expected, atol=1e-6)
    np.testing.assert_array_equal(bounded(jnp.asarray(x0), None, share), x0)


def test_the_picture_that_is_drawn_is_thresholded() -> None:
    x = jax.random.normal(jax.random.key(0), (1, 4, 4, 3))
    at_the_clamp = []
    for threshold in (0.0, 0.9):
        drawn = walk(lambda x_t, cond, t: 3.0 * x_t, x, plan_of("x0", "dpmpp", 3), bound=Bound(1.0, threshold))
        np.testing.assert_allclose(drawn.x0, bounded(drawn.x0_raw, 1.0, threshold), atol=1e-6)
        at_the_clamp.append(float(jnp.mean(jnp.abs(drawn.x0) >= 1.0)))
    assert at_the_clamp[0] > 0.3 > at_the_clamp[1]


def test_kept_calls_of_heun_are_counted_as_calls() -> None:
    x = jax.random.normal(jax.random.key(0), (1, 4, 4, 3))
    drawn = walk(gaussian_oracle("x0"), x, plan_of("x0", "heun", 4), kept=(0, 5))
    np.testing.assert_array_equal(drawn.frames[1], drawn.x0)
    assert len(plan_of("x0", "heun", 4)) == 6


def test_noise_of_a_picture_does_not_depend_on_its_company() -> None:
    x = jax.random.normal(jax.random.key(0), (3, 4, 4, 3))
    keys = jax.random.split(jax.random.key(5), 3)
    oracle = gaussian_oracle("eps")
    plan = plan_of("eps", "ddpm", 6)
    together = walk(oracle, x, plan, keys).x0
    alone = walk(oracle, x[1:2], plan, keys[1:2]).x0
    np.testing.assert_allclose(together[1:2], alone, atol=1e-5)
