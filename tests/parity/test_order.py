"""How fast the deterministic samplers approach the exact probability flow, with an exact denoiser.

Pixels are independent draws of a mixture of Gaussians. The flow keeps the order of
numbers on a line, so it takes each quantile of the noised distribution to the same
quantile of the clean one (Song et al. 2021, "Score-based generative modeling", section
4.3, in one dimension): its exact solution is known without solving anything.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from export.edge.sampling.loop import iterate
from export.edge.sampling.table import coefficients
from jax_impl.diffusion.gaussian import cosine_alphas_cumprod
from torch_ref import diffusion as reference

FINE = cosine_alphas_cumprod(20_000, 0.008, 1e-9, 0.9999)
"""So many timesteps that it does not matter that they are whole numbers."""
COARSE = cosine_alphas_cumprod(1000, 0.008, 1e-4, 0.9999)
"""That of the presets."""
TARGETS = {
    "gaussian": (np.array([1.0]), np.array([0.3]), np.array([0.3])),
    "mixture": (np.array([0.3, 0.7]), np.array([-0.5, 0.4]), np.array([0.15, 0.2])),
}
"""Weights, means and deviations."""
START = np.linspace(-2.5, 2.5, 201).reshape(1, 1, -1, 1)
DENSITY = np.exp(-(START**2) / 2.0) / np.exp(-(START**2) / 2.0).sum()


def best_x0(target: str, alphas_cumprod: np.ndarray, x: np.ndarray, t: int) -> np.ndarray:
    """The mean of x0 given x_t = x, whatever its shape: in closed form, by Bayes' rule."""
    weights, means, deviations = TARGETS[target]
    a, x = alphas_cumprod[t], x[..., None]
    variance = a * deviations**2 + 1.0 - a
    log = np.log(weights) - (x - np.sqrt(a) * means) ** 2 / variance / 2.0 - np.log(variance) / 2.0
    share = np.exp(log - log.max(axis=-1, keepdims=True))
    x0 = means + np.sqrt(a) * deviations**2 / variance * (x - np.sqrt(a) * means)
    return (share * x0).sum(axis=-1) / share.sum(axis=-1)


def share_below(target: str, a: float, x: np.ndarray) -> np.ndarray:
    """The distribution function of x_t where ᾱ is `a`."""
    weights, means, deviations = TARGETS[target]
    z = (x[..., None] - np.sqrt(a) * means) / np.sqrt(a * deviations**2 + 1.0 - a)
    return (weights * torch.special.ndtr(torch.from_numpy(z)).numpy()).sum(axis=-1)


def exact(target: str, alphas_cumprod: np.ndarray) -> np.ndarray:
    """Where the flow takes START from t = T-1, by bisection."""
    wanted = share_below(target, alphas_cumprod[-1], START)
    low, high = np.full(START.shape, -4.0), np.full(START.shape, 4.0)
    for _ in range(60):
        middle = (low + high) / 2.0
        below = share_below(target, 1.0, middle) < wanted
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2.0


def by_the_table(target: str, schedule: np.ndarray, sampler: str, steps: int, spacing: str) -> np.ndarray:
    plan = coefficients(schedule, steps, sampler, prediction="x0", spacing=spacing)
    *_, last = iterate(
        lambda x, cond, t: best_x0(target, schedule, x, t[0]), START, START, plan, None, lambda index: START
    )
    return last.x


def by_torch(target: str, schedule: np.ndarray, sampler: Any, steps: int, spacing: str) -> np.ndarray:
    start = torch.from_numpy(START)
    *_, last = reference.sample(
        lambda x, cond, t: torch.from_numpy(best_x0(target, schedule, x.numpy(), int(t[0]))), start, start, schedule,
        lambda index: start, reference.SamplerSettings(steps, "x0", sampler, clamp=None, spacing=spacing),
    )  # fmt: skip
    return last.x.numpy()


BY = {"the table": by_the_table, "torch": by_torch}


def error(by: str, target: str, schedule: np.ndarray, sampler: Any, steps: int, spacing: str) -> float:
    """Root of the mean squared distance to the exact solution, over starts from a normal distribution."""
    apart = BY[by](target, schedule, sampler, steps, spacing) - exact(target, schedule)
    return math.sqrt(float((DENSITY * apart**2).sum()))


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("sampler", "order"), [("ddim", 1), ("dpmpp", 2), ("heun", 2)])
def test_order_of_convergence_on_steps_even_in_log_snr(by: str, target: str, sampler: Any, order: int) -> None:
    errors = [error(by, target, FINE, sampler, steps, "logsnr") for steps in (20, 40, 80)]
    slopes = [math.log2(before / after) for before, after in pairwise(errors)]
    assert all(abs(slope - order) < 0.2 for slope in slopes), slopes


@pytest.mark.parametrize("target", TARGETS)
def test_heun_is_of_second_order_on_an_even_grid_too(target: str) -> None:
    few, many = (error("the table", target, FINE, "heun", steps, "linspace") for steps in (20, 80))
    assert math.log2(few / many) / 2 == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("spacing", ["trailing", "logsnr"])
def test_twenty_calls_come_closer_with_dpmpp(target: str, spacing: str) -> None:
    ddim, dpmpp = (error("the table", target, COARSE, name, 20, spacing) for name in ("ddim", "dpmpp"))
    assert dpmpp < 0.7 * ddim
    if spacing == "logsnr":
        assert dpmpp < 0.2 * ddim


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("steps", [5, 10, 20])
def test_heun_survives_the_first_step_of_a_cosine_schedule(target: str, steps: int) -> None:
    """A Heun step from T-1, where σ falls from 64,000 to 3, would leave errors of 20 in 5 steps and 3 in 10."""
    heun, ddim = (error("the table", target, COARSE, name, steps, "trailing") for name in ("heun", "ddim"))
    assert heun < ddim < 0.15
