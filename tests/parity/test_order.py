"""How fast the deterministic samplers approach the exact probability flow, with an exact denoiser.

Pixels are independent draws of a mixture of Gaussians, whose flow is known, see `tests.parity.mixtures`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from export.edge.sampling.loop import iterate
from export.edge.sampling.table import coefficients
from jax_impl.diffusion.bridge import BridgeConfig
from jax_impl.diffusion.flow import FlowConfig
from jax_impl.diffusion.gaussian import cosine_alphas_cumprod
from tests.parity.mixtures import TARGETS, best_x0, quantile, share_below
from torch_ref import diffusion as reference

FINE = cosine_alphas_cumprod(20_000, 0.008, 1e-9, 0.9999)
"""So many timesteps that it does not matter that they are whole numbers."""
COARSE = cosine_alphas_cumprod(1000, 0.008, 1e-4, 0.9999)
"""That of the presets."""
START = np.linspace(-2.5, 2.5, 201).reshape(1, 1, -1, 1)
DENSITY = np.exp(-(START**2) / 2.0) / np.exp(-(START**2) / 2.0).sum()


def denoise(target: str, alphas_cumprod: np.ndarray, x: np.ndarray, t: int) -> np.ndarray:
    """The mean of x0 given x_t = x."""
    return best_x0(target, math.sqrt(alphas_cumprod[t]), math.sqrt(1.0 - alphas_cumprod[t]), x)


def exact(target: str, alphas_cumprod: np.ndarray) -> np.ndarray:
    """Where the flow takes START from t = T-1."""
    end = alphas_cumprod[-1]
    return quantile(target, share_below(target, math.sqrt(end), math.sqrt(1.0 - end), START))


def by_the_table(target: str, schedule: np.ndarray, sampler: str, steps: int, spacing: str) -> np.ndarray:
    plan = coefficients(schedule, steps, sampler, prediction="x0", spacing=spacing)
    *_, last = iterate(
        lambda x, cond, t: denoise(target, schedule, x, t[0]), START, START, plan, None, lambda index: START
    )
    return last.x


def by_torch(target: str, schedule: np.ndarray, sampler: Any, steps: int, spacing: str) -> np.ndarray:
    start = torch.from_numpy(START)
    *_, last = reference.sample(
        lambda x, cond, t: torch.from_numpy(denoise(target, schedule, x.numpy(), int(t[0]))), start, start, schedule,
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


INPUT = -0.6
"""The input picture, of which the target is independent: its place on the line is all that matters."""
BRIDGE, FLOW = BridgeConfig(timesteps=20_000), FlowConfig(timesteps=20_000, start_noise=0.4)


def from_the_input(config: BridgeConfig | FlowConfig, target: str, sampler: str, steps: int, spacing: str) -> float:
    """The error of pictures drawn from one input by the best network, whose noise is START, against the exact flow.

    Given the input, the state is (1 - u) x0 + u INPUT and noise, so its flow keeps quantiles; they are those of START.
    """

    def best(x: np.ndarray, cond: np.ndarray, t: np.ndarray) -> np.ndarray:
        u = float(t[0] + 1) / config.timesteps
        is_bridge = isinstance(config, BridgeConfig)
        noise = 2.0 * config.noise * math.sqrt(u * (1.0 - u)) if is_bridge else config.start_noise * u
        # At the far end nothing of x0 is left, and the best is its mean.
        x0 = best_x0(target, 1.0 - u, max(noise, 1e-6), x - u * INPUT)
        return x0 if config.prediction == "x0" else (x - x0) / u

    plan, cond = config.create().plan(steps, sampler, spacing=spacing), np.full_like(START, INPUT)
    start = plan.start_from_source * cond + plan.start_from_noise * START
    *_, last = iterate(best, cond, start, plan, None, lambda index: START)
    wanted = quantile(target, torch.special.ndtr(torch.from_numpy(START)).numpy())
    return math.sqrt(float((DENSITY * (last.x - wanted) ** 2).sum()))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("config", "sampler", "spacing", "order"),
    [
        (BRIDGE, "dbim", "logsnr", 1),
        (BRIDGE, "dbim2", "logsnr", 2),
        (FLOW, "euler", "trailing", 1),
        (FLOW, "heun", "trailing", 2),
        (FLOW, "ab2", "trailing", 2),
        (replace(FLOW, prediction="velocity"), "heun", "trailing", 2),
    ],
    ids=["dbim", "dbim2", "euler", "heun", "ab2", "heun by velocity"],
)
def test_order_of_convergence_from_the_input_picture(
    target: str, config: BridgeConfig | FlowConfig, sampler: str, spacing: str, order: int
) -> None:
    """That of ab2 is two up to a logarithm, which many steps show.

    Over steps of even length the bridge is of first order with either: its first and last step are too long.
    """
    counts = (80, 160, 320) if sampler == "ab2" else (20, 40, 80)
    errors = [from_the_input(config, target, sampler, steps, spacing) for steps in counts]
    slopes = [math.log2(before / after) for before, after in pairwise(errors)]
    assert all(abs(slope - order) < 0.35 for slope in slopes), slopes
    assert errors[-1] < (0.02 if order == 1 else 1e-3)
