"""Which samplers reach their target, in JAX and in PyTorch, with an exact denoiser.

Pixels are independent draws of N(MEAN, STD²). The best eps_hat is then linear in x_t, so
is every sampler's step without its clamp, and the state stays Gaussian: its mean and
variance follow in closed form, step by step, from the papers' equations. Drawn pixels are
held to these moments within sampling error, and the moments say how close a sampler comes.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from export.edge.choices import Prediction
from export.edge.sampling.spacing import timesteps
from jax_impl.diffusion.gaussian import DiffusionConfig, GaussianProcess
from jax_impl.diffusion.process import Bound
from jax_impl.diffusion.samplers import noise_of, sample
from torch_ref import diffusion as reference

ALPHAS = DiffusionConfig().create().alphas_cumprod
TOTAL = len(ALPHAS)
MEAN, STD = 0.3, 0.3
SHAPE = (4, 128, 128, 3)
STANDARD_ERRORS = 5.0
"""How far a sample's mean and deviation may lie from the exact ones. The draws are fixed: no run is unlucky."""


def exact_denoiser(prediction: Prediction) -> tuple[np.ndarray, np.ndarray]:
    """Slope and offset of the best denoiser's output, slope_t · x_t + offset_t; each float64 (T,)."""
    signal, noise = np.sqrt(ALPHAS), np.sqrt(1 - ALPHAS)
    variance = ALPHAS * STD**2 + 1 - ALPHAS  # of x_t
    eps, x0 = noise / variance, signal * STD**2 / variance
    slope = {"eps": eps, "x0": x0, "v": signal * eps - noise * x0}[prediction]
    # At x_t = √ᾱ MEAN the best guess is that there is no noise.
    at_mean = {"eps": 0.0, "x0": MEAN, "v": -noise * MEAN}[prediction]
    return slope, at_mean - slope * signal * MEAN


def coefficients(sampler: str, eta: float, steps: int) -> list[tuple[int, float, float, float]]:
    """t and the numbers in x_next = from_x · x + from_eps · eps_hat + sigma · z, for every step."""
    rows = []
    if sampler == "original":  # Ho et al. 2020, algorithm 2, σ² = β
        for i in range(steps):
            t = (TOTAL - 1) * (steps - 1 - i) // (steps - 1)
            alpha = ALPHAS[t] / (ALPHAS[t - 1] if t > 0 else 1.0)
            from_eps = -(1 - alpha) / math.sqrt(1 - ALPHAS[t]) / math.sqrt(alpha)
            rows.append((t, 1 / math.sqrt(alpha), from_eps, math.sqrt(1 - alpha) if t > 0 else 0.0))
        return rows
    kept = timesteps(ALPHAS, steps)
    for t, after in zip(kept, np.append(ALPHAS[kept][1:], 1.0), strict=True):
        now = ALPHAS[t]
        # x0_hat = x/√ᾱ - √(1-ᾱ)/√ᾱ · eps_hat
        x0_from_x, x0_from_eps = 1 / math.sqrt(now), -math.sqrt(1 - now) / math.sqrt(now)
        if sampler == "ddim":  # Song et al. 2021, equations 12 and 16
            sigma = eta * math.sqrt((1 - after) / (1 - now)) * math.sqrt(1 - now / after)
            from_x0, from_x, from_eps = math.sqrt(after), 0.0, math.sqrt(max(1 - after - sigma**2, 0.0))
        else:  # Ho et al. 2020, equations 6 and 7, with α = ᾱ_t/ᾱ_s
            alpha = now / after
            from_x0 = math.sqrt(after) * (1 - alpha) / (1 - now)
            from_x, from_eps = math.sqrt(alpha) * (1 - after) / (1 - now), 0.0
            sigma = math.sqrt((1 - alpha) * (1 - after) / (1 - now))
        rows.append((int(t), from_x0 * x0_from_x + from_x, from_x0 * x0_from_eps + from_eps, sigma))
    return rows


def exact_moments(sampler: str, eta: float, steps: int) -> tuple[float, float]:
    """Mean and deviation that the sampler reaches from N(0, 1) with the exact denoiser, in float64."""
    slopes, offsets = exact_denoiser("eps")
    mean, variance = 0.0, 1.0
    for t, from_x, from_eps, sigma in coefficients(sampler, eta, steps):
        factor = from_x + from_eps * slopes[t]
        mean = factor * mean + from_eps * offsets[t]
        variance = factor**2 * variance + sigma**2
    return mean, math.sqrt(variance)


def draw_with_jax(sampler: Any, eta: float, steps: int, prediction: Prediction, shape: tuple[int, ...]) -> np.ndarray:
    slope, offset = (jnp.asarray(column, jnp.float32)[:, None, None, None] for column in exact_denoiser(prediction))
    start, keys = jax.random.normal(jax.random.key(0), shape), jax.random.split(jax.random.key(1), shape[0])
    plan = GaussianProcess(DiffusionConfig(prediction=prediction), ALPHAS).plan(steps, sampler, eta)
    z = noise_of(keys, shape[1:], jnp.dtype(start.dtype))
    drawn = sample(lambda x_t, cond, t: slope[t] * x_t + offset[t], start, start, plan, z, Bound(None))
    return np.asarray(drawn.x0)


def draw_with_torch(sampler: Any, eta: float, steps: int, prediction: Prediction, shape: tuple[int, ...]) -> np.ndarray:
    slope, offset = (torch.from_numpy(column).float()[:, None, None, None] for column in exact_denoiser(prediction))
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(shape, generator=generator)
    walk = reference.sample(
        lambda x_t, cond, t: slope[t] * x_t + offset[t], start, start, ALPHAS,
        lambda _: torch.randn(shape, generator=generator),
        reference.SamplerSettings(steps, prediction, sampler, eta, clamp=None),
    )  # fmt: skip
    *_, last = walk
    return last.x.numpy()


DRAW = {"jax": draw_with_jax, "torch": draw_with_torch}


def check_against_the_exact_moments(pixels: np.ndarray, sampler: str, eta: float, steps: int) -> None:
    mean, deviation = exact_moments(sampler, eta, steps)
    bound = STANDARD_ERRORS * deviation / math.sqrt(pixels.size)
    assert pixels.dtype == np.float32
    assert abs(pixels.mean(dtype=np.float64) - mean) < bound
    assert abs(pixels.std(dtype=np.float64) - deviation) < bound / math.sqrt(2)


@pytest.mark.parametrize("by", DRAW)
@pytest.mark.parametrize("steps", [20, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("sampler", "eta"), [("original", 0.0), ("ddim", 0.0), ("ddim", 1.0), ("ddpm", 0.0)])
def test_drawn_pixels_have_the_exact_moments(by: str, sampler: Any, eta: float, steps: int) -> None:
    check_against_the_exact_moments(DRAW[by](sampler, eta, steps, "eps", SHAPE), sampler, eta, steps)


@pytest.mark.parametrize("by", DRAW)
def test_drawn_pixels_have_the_exact_moments_after_the_full_loop(by: str) -> None:
    pixels = DRAW[by]("original", 0.0, TOTAL, "eps", (1, 64, 64, 3))
    check_against_the_exact_moments(pixels, "original", 0.0, TOTAL)


@pytest.mark.parametrize("by", DRAW)
@pytest.mark.parametrize("prediction", ["x0", "v"])
def test_the_moments_do_not_depend_on_what_is_predicted(by: str, prediction: Prediction) -> None:
    check_against_the_exact_moments(DRAW[by]("ddim", 0.0, 20, prediction, SHAPE), "ddim", 0.0, 20)


@pytest.mark.parametrize(("sampler", "eta", "constant"), [("ddim", 0.0, 0.9), ("ddim", 1.0, 2.1), ("ddpm", 0.0, 2.1)])
def test_respaced_samplers_converge(sampler: str, eta: float, constant: float) -> None:
    """Their mean is right in any number of steps; their deviation comes from below, its error falling as 1/steps."""
    missing = {}
    for steps in (10, 20, 50, 100, 200, 500, 1000):
        mean, deviation = exact_moments(sampler, eta, steps)
        # The walk starts at N(0, 1) instead of N(√ᾱ MEAN, ...), where √ᾱ is 1.6e-5.
        assert mean == pytest.approx(MEAN, abs=1e-4)
        missing[steps] = STD - deviation
        assert 0.0 < missing[steps] < constant / steps
    assert list(missing.values()) == sorted(missing.values(), reverse=True)
    assert missing[20] < 0.06
    assert missing[100] < 0.016


def test_ancestral_noise_costs_width_in_few_steps() -> None:
    """DDPM re-spaced to 20 steps loses a fifth of the deviation, DDIM a ninth; both are known biases, not faults."""
    assert exact_moments("ddpm", 0.0, 20)[1] == pytest.approx(exact_moments("ddim", 1.0, 20)[1], abs=1e-9)
    assert 0.17 < 1 - exact_moments("ddpm", 0.0, 20)[1] / STD < 0.2
    assert 0.1 < 1 - exact_moments("ddim", 0.0, 20)[1] / STD < 0.12


@pytest.mark.parametrize("steps", [20, 100])
def test_single_step_coefficients_on_a_strided_grid_leave_the_noise_in(steps: int) -> None:
    mean, deviation = exact_moments("original", 0.0, steps)
    assert abs(mean - MEAN) > 0.2
    assert deviation > 2.5 * STD


def test_single_step_coefficients_are_right_on_the_full_grid() -> None:
    assert exact_moments("original", 0.0, TOTAL) == pytest.approx((MEAN, STD), abs=1e-3)
