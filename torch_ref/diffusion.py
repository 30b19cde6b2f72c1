"""The diffusion process as the papers write it: forward process, conversions, samplers.

The noise schedule is received, never computed: `alphas_cumprod` is the float64 (T,) of
the bundle. Pictures are (batch, 3, height, width) in [-1, 1]; noise is given by the
caller. Everywhere x_t = √ᾱ x0 + √(1-ᾱ) eps and v = √ᾱ eps - √(1-ᾱ) x0 (Salimans & Ho
2022, appendix D).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from export.edge.choices import AnySampler, Prediction
from export.edge.errors import UserError
from export.edge.sampling.spacing import timesteps
from export.edge.sampling.table import COLUMNS, Plan, check_eta

Denoise = Callable[[Tensor, Tensor, Tensor], Tensor]
"""denoise(x_t, cond, t): two pictures (batch, 3, height, width), t int64 (batch,)."""


def levels_at(alphas_cumprod: np.ndarray, t: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """√ᾱ_t and √(1-ᾱ_t) for int64 `t` (batch,), each (batch, 1, 1, 1): taken in float64, then rounded to `dtype`."""
    alpha_bar = torch.from_numpy(np.array(alphas_cumprod, np.float64)).to(t.device)[t][:, None, None, None]
    return alpha_bar.sqrt().to(dtype), (1.0 - alpha_bar).sqrt().to(dtype)


def q_sample(x0: Tensor, eps: Tensor, alphas_cumprod: np.ndarray, t: Tensor) -> Tensor:
    """A draw of q(x_t | x0) for standard normal eps (Ho et al. 2020, equation 4)."""
    signal, noise = levels_at(alphas_cumprod, t, x0.dtype)
    return signal * x0 + noise * eps


def target(prediction: Prediction, x0: Tensor, eps: Tensor, alphas_cumprod: np.ndarray, t: Tensor) -> Tensor:
    """What a perfect network says. Raises UserError for an unknown prediction."""
    signal, noise = levels_at(alphas_cumprod, t, x0.dtype)
    if prediction == "eps":
        return eps
    if prediction == "x0":
        return x0
    if prediction == "v":
        return signal * eps - noise * x0
    raise _unknown(prediction)


def to_x0(prediction: Prediction, output: Tensor, x_t: Tensor, alphas_cumprod: np.ndarray, t: Tensor) -> Tensor:
    """The clean picture that a network's output stands for, unclamped. Raises UserError for an unknown prediction."""
    signal, noise = levels_at(alphas_cumprod, t, x_t.dtype)
    if prediction == "eps":
        return (x_t - noise * output) / signal
    if prediction == "x0":
        return output
    if prediction == "v":
        return signal * x_t - noise * output
    raise _unknown(prediction)


def to_eps(x0: Tensor, x_t: Tensor, alphas_cumprod: np.ndarray, t: Tensor) -> Tensor:
    """The noise in x_t when its clean picture is x0."""
    signal, noise = levels_at(alphas_cumprod, t, x_t.dtype)
    return (x_t - signal * x0) / noise


def bounded(x0_raw: Tensor, clamp: float | None, threshold: float = 0.0) -> Tensor:
    """The clean picture's estimate inside [-clamp, clamp]; None leaves it alone.

    With a `threshold` above 0: dynamic thresholding (Saharia et al. 2022, section 2.3).
    s is the larger of the clamp and that quantile of |x0_hat| in each picture; values are
    clipped to [-s, s], then divided by s and multiplied by the clamp.
    """
    if clamp is None:
        return x0_raw
    if threshold == 0.0:
        return x0_raw.clamp(-clamp, clamp)
    s = torch.quantile(x0_raw.abs().flatten(1), threshold, dim=1).clamp(min=clamp)[:, None, None, None]
    return x0_raw.clamp(-s, s) / s * clamp


@dataclass(frozen=True)
class Call:
    """What one call of the network led to; pictures (batch, 3, height, width)."""

    index: int
    """Which call, from 0."""
    t: int
    x0_raw: Tensor
    """x0_hat before it is bounded."""
    x0: Tensor
    """x0_hat after that; with `original`, which bounds nothing, the same."""
    x: Tensor
    """The state moved to; x0 itself after the last call, and with "original" after t = 0."""


@dataclass(frozen=True)
class SamplerSettings:
    """How to walk from noise to a picture."""

    steps: int
    """Each is one call of the network, with "heun" two in all but the first and the last."""
    prediction: Prediction
    sampler: AnySampler = "ddim"
    """"original" is the original script's loop, there to compare with: single-step coefficients on timesteps evenly
    spaced from T-1 to 0, and no clamp. Below T steps it leaves most of the noise in."""
    eta: float = 0.0
    """DDIM's share of noise, 0 to 1."""
    clamp: float | None = 1.0
    """x0_hat is brought into [-clamp, clamp], see `bounded`."""
    threshold: float = 0.0
    spacing: str = "trailing"
    """The timesteps, see `export.edge.sampling.spacing.timesteps`."""


def sample(
    denoise: Denoise,
    cond: Tensor,
    x_T: Tensor,
    alphas_cumprod: np.ndarray,
    step_noise: Callable[[int], Tensor],
    how: SamplerSettings,
) -> Iterator[Call]:
    """Walk from the start noise `x_T` to a picture, a Call for each call of the network.

    Every call forms x0_hat, bounds it and moves on from there; the last one lands on ᾱ = 1. `step_noise(i)` is the
    standard normal noise of step i, asked only where the step adds noise. Raises UserError for a setting out of range,
    or an eta with another sampler than "ddim".
    """
    grid, clamp = _grid(alphas_cumprod, how), None if how.sampler == "original" else how.clamp

    def estimate(x: Tensor, now: int) -> tuple[Tensor, Tensor]:
        t = torch.full((x.shape[0],), now, dtype=torch.int64, device=x.device)
        with torch.no_grad():
            x0_raw = to_x0(how.prediction, denoise(x, cond, t), x, alphas_cumprod, t)
        return x0_raw, bounded(x0_raw, clamp, how.threshold)

    x, previous, calls = x_T, torch.zeros_like(x_T), 0
    for index, now in enumerate(grid):
        x0_raw, x0 = estimate(x, now)
        start = x
        x, deviation = _moved(how, alphas_cumprod, grid, index, x, x0, previous)
        if deviation != 0.0:
            x = x + deviation * step_noise(index)
        yield Call(calls, now, x0_raw, x0, x)
        previous, calls = x0, calls + 1
        if how.sampler == "heun" and 0 < index < how.steps - 1:
            x0_raw, x0_there = estimate(x, grid[index + 1])
            x = _heun(start, x0, x, x0_there, float(alphas_cumprod[now]), float(alphas_cumprod[grid[index + 1]]))
            yield Call(calls, grid[index + 1], x0_raw, x0_there, x)
            calls += 1


def _grid(alphas_cumprod: np.ndarray, how: SamplerSettings) -> list[int]:
    """The timesteps of the checked settings."""
    if how.sampler not in get_args(AnySampler):
        raise UserError(f"sampler {how.sampler!r} is unknown; choose one of {', '.join(get_args(AnySampler))}")
    check_eta(how.sampler, how.eta)
    grid = [int(t) for t in timesteps(alphas_cumprod, how.steps, how.spacing)]
    return _evenly_cut_off(len(alphas_cumprod), how.steps) if how.sampler == "original" else grid


def _moved(
    how: SamplerSettings,
    alphas_cumprod: np.ndarray,
    grid: list[int],
    index: int,
    x: Tensor,
    x0: Tensor,
    previous: Tensor,
) -> tuple[Tensor, float]:
    """Mean and standard deviation of step `index`, whose x0_hat is `x0` and that of the step before `previous`."""
    now = grid[index]
    alpha_bar = float(alphas_cumprod[now])
    after = float(alphas_cumprod[grid[index + 1]]) if index + 1 < how.steps else 1.0
    if how.sampler == "ddpm":
        return _ddpm(x0, x, alpha_bar, after)
    if how.sampler == "dpmpp" and 0 < index < how.steps - 1:
        return _second_order(x0, previous, x, float(alphas_cumprod[grid[index - 1]]), alpha_bar, after), 0.0
    eps = to_eps(x0, x, alphas_cumprod, torch.full((x.shape[0],), now, dtype=torch.int64, device=x.device))
    if how.sampler == "original":
        return _single_step(x, eps, alpha_bar, float(alphas_cumprod[now - 1]) if now > 0 else 1.0)
    return _ddim(x0, eps, alpha_bar, after, how.eta)


def start_by_table(plan: Plan, source: Tensor, noise: Tensor) -> Tensor:
    """The state that a plan begins with; `source` and standard normal `noise` (batch, 3, height, width)."""
    return plan.start_from_source * source + plan.start_from_noise * noise


def sample_by_table(
    denoise: Denoise,
    cond: Tensor,
    start: Tensor,
    plan: Plan,
    step_noise: Callable[[int], Tensor],
    clamp: float | None = 1.0,
    threshold: float = 0.0,
) -> Iterator[Call]:
    """Walk from the state `start` by any table, of whatever process, a Call for each call of the network.

    The formula is that of `export.edge.sampling.table`; `step_noise(i)` is asked only where the table adds noise.
    """
    x, x0 = start, torch.zeros_like(start)
    for index, now in enumerate(plan.t.tolist()):
        row = {name: float(getattr(plan, name)[index]) for name in COLUMNS}
        t = torch.full((x.shape[0],), now, dtype=torch.int64, device=x.device)
        with torch.no_grad():
            output = denoise(x, cond, t)
        x0_raw = row["x0_from_x"] * x + row["x0_from_output"] * output + row["x0_from_start"] * start
        previous, x0 = x0, bounded(x0_raw, clamp, threshold)
        x = row["next_from_x0"] * x0 + row["next_from_previous"] * previous + row["next_from_x"] * x
        x = x + row["next_from_start"] * start
        if row["noise"] != 0.0:
            x = x + row["noise"] * step_noise(index)
        yield Call(index, now, x0_raw, x0, x)


def _ddim(x0: Tensor, eps: Tensor, alpha_bar: float, after: float, eta: float) -> tuple[Tensor, float]:
    """Mean and standard deviation of a DDIM step (Song, Meng & Ermon 2021, equations 12 and 16).

    At eta 0 it is Euler's step over σ = √((1-ᾱ) / ᾱ) (their equation 13), and the first-order step of DPM-Solver++."""
    sigma = eta * math.sqrt((1.0 - after) / (1.0 - alpha_bar)) * math.sqrt(1.0 - alpha_bar / after)
    # At eta 1 and the last step the root's argument is zero, up to rounding.
    direction = math.sqrt(max(1.0 - after - sigma**2, 0.0))
    return math.sqrt(after) * x0 + direction * eps, sigma


def _ddpm(x0: Tensor, x_t: Tensor, alpha_bar: float, after: float) -> tuple[Tensor, float]:
    """Mean and standard deviation of the posterior q(x_s | x_t, x0) (Ho et al. 2020, equations 6 and 7), where the
    single step's α becomes ᾱ_t / ᾱ_s between the kept timesteps t and s."""
    alpha = alpha_bar / after
    beta = 1.0 - alpha
    from_x0 = math.sqrt(after) * beta / (1.0 - alpha_bar)
    from_x_t = math.sqrt(alpha) * (1.0 - after) / (1.0 - alpha_bar)
    return from_x0 * x0 + from_x_t * x_t, math.sqrt(beta * (1.0 - after) / (1.0 - alpha_bar))


def _second_order(x0: Tensor, previous: Tensor, x_t: Tensor, before: float, alpha_bar: float, after: float) -> Tensor:
    """A step of DPM-Solver++(2M) (Lu et al. 2022, "DPM-Solver++", algorithm 2) from ᾱ to `after`; `previous` is the
    x0_hat of the step that began at `before`. α = √ᾱ, σ = √(1-ᾱ), λ = log(α / σ)."""
    h = _half_log_snr(after) - _half_log_snr(alpha_bar)
    r = (_half_log_snr(alpha_bar) - _half_log_snr(before)) / h
    d = (1.0 + 1.0 / (2.0 * r)) * x0 - 1.0 / (2.0 * r) * previous
    return math.sqrt((1.0 - after) / (1.0 - alpha_bar)) * x_t - math.sqrt(after) * math.expm1(-h) * d


def _half_log_snr(alpha_bar: float) -> float:
    return 0.5 * (math.log(alpha_bar) - math.log1p(-alpha_bar))


def _heun(x_t: Tensor, x0: Tensor, x_s: Tensor, x0_there: Tensor, alpha_bar: float, after: float) -> Tensor:
    """A step from x_t at ᾱ to `after` by the mean of two slopes (Karras et al. 2022, algorithm 1, lines 4 to 8):
    the one here, and the one at x_s, where Euler would arrive, from the x0_hat there. y = x / √ᾱ, σ = √((1-ᾱ) / ᾱ)."""
    sigma, sigma_next = (math.sqrt((1.0 - a) / a) for a in (alpha_bar, after))
    y, y_next = x_t / math.sqrt(alpha_bar), x_s / math.sqrt(after)
    slope, slope_next = (y - x0) / sigma, (y_next - x0_there) / sigma_next
    return math.sqrt(after) * (y + (sigma_next - sigma) * (slope + slope_next) / 2.0)


def _single_step(x_t: Tensor, eps: Tensor, alpha_bar: float, before: float) -> tuple[Tensor, float]:
    """Mean and standard deviation of the step from t to t-1 (Ho et al. 2020, algorithm 2, variance β), where
    `before` is ᾱ_{t-1}; the last one, to ᾱ = 1, adds no noise."""
    alpha = alpha_bar / before
    beta = 1.0 - alpha
    mean = (x_t - beta / math.sqrt(1.0 - alpha_bar) * eps) / math.sqrt(alpha)
    return mean, math.sqrt(beta) if before < 1.0 else 0.0


def _evenly_cut_off(total: int, steps: int) -> list[int]:
    """linspace(total - 1, 0, steps), cut off to whole numbers; exact, where floating point may cut one too low."""
    return [total - 1 + -(total - 1) * i // max(steps - 1, 1) for i in range(steps)]


def _unknown(prediction: str) -> UserError:
    return UserError(f"prediction {prediction!r} is unknown; choose one of eps, x0, v")
