"""Samplers against targets whose exact denoiser is known, and against diffusers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from export.edge.errors import UserError
from jax_impl.config import DiffusionConfig, Prediction, SamplerName
from jax_impl.diffusion.process import levels_at, to_eps
from jax_impl.diffusion.samplers import SamplerConfig, make_grid, sample
from jax_impl.diffusion.schedule import Levels, alphas_cumprod

ALPHAS = alphas_cumprod(DiffusionConfig())
LEVELS = Levels.of(ALPHAS)
MEAN, STD = 0.3, 0.3
KEYS = jax.random.split(jax.random.key(0), 1)


def gaussian_oracle(prediction: Prediction):
    """The best denoiser for pictures whose pixels are independent draws of N(MEAN, STD²)."""

    def denoise(x_t: jax.Array, cond: jax.Array, t: jax.Array) -> jax.Array:
        signal, noise = levels_at(LEVELS, t, x_t.dtype)
        x0 = MEAN + signal * STD**2 / (signal**2 * STD**2 + noise**2) * (x_t - signal * MEAN)
        eps = to_eps(x0, x_t, signal, noise)
        return {"eps": eps, "x0": x0, "v": signal * eps - noise * x0}[prediction]

    return denoise


def draw(config: SamplerConfig, prediction: Prediction = "eps", clamp: float | None = None, shape=(2, 64, 64, 3)):
    x = jax.random.normal(jax.random.key(0), shape)
    oracle = gaussian_oracle(prediction)
    return sample(
        oracle, x, x, jax.random.split(jax.random.key(1), len(x)), ALPHAS, config, prediction=prediction, clamp=clamp
    )


@pytest.mark.parametrize(
    ("sampler", "steps", "lowest"), [("ddim", 100, 0.28), ("ddpm", 100, 0.27), ("ddpm", 1000, 0.29), ("ddim", 20, 0.25)]
)
@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_the_exact_denoiser_gives_the_target(
    sampler: SamplerName, steps: int, lowest: float, prediction: Prediction
) -> None:
    x0 = draw(SamplerConfig(sampler, steps), prediction).x0
    assert float(x0.mean()) == pytest.approx(MEAN, abs=0.01)
    assert lowest < float(x0.std()) < STD + 0.01


@pytest.mark.parametrize("steps", [1, 2, 10, 50, 250])
@pytest.mark.parametrize("eta", [0.0, 0.5])
def test_ddim_against_diffusers(steps: int, eta: float) -> None:
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(1, 6, 5, 3)), rng.normal(size=(steps, 1, 6, 5, 3))
    betas = 1 - ALPHAS / np.append(1.0, ALPHAS[:-1])
    theirs = DDIMScheduler(trained_betas=betas, timestep_spacing="trailing", clip_sample=True, set_alpha_to_one=True)
    theirs.alphas_cumprod = torch.from_numpy(ALPHAS)
    theirs.final_alpha_cumprod = torch.tensor(1.0, dtype=torch.float64)
    theirs.set_timesteps(steps)
    with jax.enable_x64(True):
        oracle = gaussian_oracle("eps")
        expected = torch.from_numpy(x)
        for i, t in enumerate(theirs.timesteps):
            output = np.array(oracle(jnp.asarray(expected.numpy()), None, jnp.asarray([int(t)])))
            step = theirs.step(
                torch.from_numpy(output), int(t), expected, eta=eta, use_clipped_model_output=True,
                variance_noise=torch.from_numpy(z[i]) if eta else None,
            )  # fmt: skip
            expected = step.prev_sample
        ours = sample(
            oracle, jnp.asarray(x), jnp.asarray(x), KEYS, ALPHAS, SamplerConfig("ddim", steps, eta),
            prediction="eps", clamp=1.0, step_noise=jnp.asarray(z),
        )  # fmt: skip
        np.testing.assert_allclose(ours.x0, expected.numpy(), atol=1e-9)


def test_the_full_chain_against_diffusers_ddpm() -> None:
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(1, 3, 4, 3)), rng.normal(size=(1000, 1, 3, 4, 3))
    betas = 1 - ALPHAS / np.append(1.0, ALPHAS[:-1])
    theirs = DDPMScheduler(trained_betas=betas, clip_sample=True)
    theirs.betas, theirs.alphas_cumprod = torch.from_numpy(betas), torch.from_numpy(ALPHAS)
    theirs.one = torch.tensor(1.0, dtype=torch.float64)
    theirs.set_timesteps(1000)
    with jax.enable_x64(True):
        oracle = jax.jit(gaussian_oracle("eps"))
        expected = x
        for i, t in enumerate(theirs.timesteps):
            output = np.array(oracle(jnp.asarray(expected), None, jnp.asarray([int(t)])))
            # Their step draws its own noise; the mean and the variance are what is compared.
            alpha, after = ALPHAS[t], ALPHAS[t - 1] if t > 0 else 1.0
            x0 = np.clip((expected - np.sqrt(1 - alpha) * output) / np.sqrt(alpha), -1, 1)
            beta = betas[t]
            mean = np.sqrt(after) * beta / (1 - alpha) * x0 + np.sqrt(1 - beta) * (1 - after) / (1 - alpha) * expected
            variance = float(theirs._get_variance(int(t))) if t > 0 else 0.0
            expected = mean + np.sqrt(variance) * z[i]
        ours = sample(
            oracle, jnp.asarray(x), jnp.asarray(x), KEYS, ALPHAS, SamplerConfig("ddpm", 1000),
            prediction="eps", clamp=1.0, step_noise=jnp.asarray(z),
        )  # fmt: skip
        np.testing.assert_allclose(ours.x0, expected, atol=1e-8)


def test_ddpm_is_ddim_with_all_of_its_noise() -> None:
    ddpm, ddim = make_grid(ALPHAS, SamplerConfig("ddpm", 37)), make_grid(ALPHAS, SamplerConfig("ddim", 37, 1.0))
    for a, b in zip(ddpm, ddim, strict=True):
        np.testing.assert_array_equal(a, b)


def test_every_estimate_is_clamped() -> None:
    x = jax.random.normal(jax.random.key(0), (1, 8, 8, 3))

    def wild(x_t: jax.Array, cond: jax.Array, t: jax.Array) -> jax.Array:
        return -x_t

    bounded = sample(wild, x, x, KEYS, ALPHAS, SamplerConfig("ddim", 10), prediction="eps", clamp=1.0, kept=range(10))
    assert float(jnp.abs(bounded.x0).max()) <= 1.0
    assert float(jnp.abs(bounded.frames).max()) < 10.0
    assert float(jnp.abs(bounded.x0_raw).max()) > 1.0
    free = sample(wild, x, x, KEYS, ALPHAS, SamplerConfig("ddim", 10), prediction="eps", clamp=None, kept=range(10))
    assert float(jnp.abs(free.frames).max()) > 1e3


def test_kept_frames_are_the_states_after_their_steps() -> None:
    x = jax.random.normal(jax.random.key(0), (1, 4, 4, 3))
    oracle = gaussian_oracle("x0")
    every = sample(oracle, x, x, KEYS, ALPHAS, SamplerConfig("ddim", 8), prediction="x0", clamp=1.0, kept=range(8))
    some = sample(oracle, x, x, KEYS, ALPHAS, SamplerConfig("ddim", 8), prediction="x0", clamp=1.0, kept=(2, 7))
    np.testing.assert_array_equal(some.frames, every.frames[np.array([2, 7])])
    np.testing.assert_array_equal(every.frames[-1], every.x0)


def test_noise_follows_from_the_key() -> None:
    x = jax.random.normal(jax.random.key(0), (1, 4, 4, 3))
    oracle = gaussian_oracle("eps")

    def run(key: int) -> jax.Array:
        return sample(
            oracle,
            x,
            x,
            jax.random.split(jax.random.key(key), 1),
            ALPHAS,
            SamplerConfig("ddpm", 5),
            prediction="eps",
            clamp=1.0,
        ).x0

    np.testing.assert_array_equal(run(1), run(1))
    assert float(jnp.abs(run(1) - run(2)).max()) > 0.1


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_steps_out_of_range(steps: int) -> None:
    with pytest.raises(UserError, match=rf"steps {steps} is outside 1 \.\.\. 1000"):
        make_grid(ALPHAS, SamplerConfig("ddim", steps))


def test_eta_out_of_range() -> None:
    with pytest.raises(UserError, match=r"eta is 1\.5"):
        make_grid(ALPHAS, SamplerConfig("ddim", 10, 1.5))


def test_eta_means_nothing_to_ddpm() -> None:
    with pytest.raises(UserError, match="means nothing to ddpm"):
        make_grid(ALPHAS, SamplerConfig("ddpm", 10, 0.5))


def test_noise_of_a_picture_does_not_depend_on_its_company() -> None:
    x = jax.random.normal(jax.random.key(0), (3, 4, 4, 3))
    keys = jax.random.split(jax.random.key(5), 3)
    oracle = gaussian_oracle("eps")
    config = SamplerConfig("ddpm", 6)
    together = sample(oracle, x, x, keys, ALPHAS, config, prediction="eps", clamp=1.0).x0
    alone = sample(oracle, x[1:2], x[1:2], keys[1:2], ALPHAS, config, prediction="eps", clamp=1.0).x0
    np.testing.assert_allclose(together[1:2], alone, atol=1e-5)
