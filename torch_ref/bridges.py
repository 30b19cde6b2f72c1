"""Processes that begin at a picture, as the papers write them: the Brownian bridge, and the straight line.

Nothing here is taken from a table: the samplers follow the papers' equations step by step. Pictures are (batch,
channels, height, width); u = (t + 1) / T is the share of the way from the target x0 to the other picture, y or the
start. Noise is given by the caller.

The bridge is written as Liu et al. 2023 ("I2SB") and Zhou et al. 2024 ("DDBM") have it, for a variance-exploding
process with a constant beta: sigma² (u) = beta u, where beta is four times the square of the noise in the middle.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from export.edge.errors import UserError
from export.edge.sampling.spacing import timesteps
from torch_ref.diffusion import Call, Denoise, bounded

BRIDGE_SAMPLERS = ("dbim", "dbim2", "i2sb")
FLOW_SAMPLERS = ("euler", "heun", "ab2")


@dataclass(frozen=True)
class Walk:
    """How to walk from the far end to the target."""

    sampler: str
    steps: int
    timesteps: int = 1000
    noise: float = 0.25
    """Of a bridge: the deviation in its middle."""
    velocity: bool = False
    """Whether the network of a flow says start - x0, and not x0."""
    clamp: float | None = 1.0


def bridge_state(x0: Tensor, y: Tensor, eps: Tensor, u: Tensor, noise: float) -> Tensor:
    """A draw of q(x_u | x0, y) (I2SB), for u (batch,).

    mean = sigma_bar² / (sigma_bar² + sigma²) x0 + sigma² / (sigma_bar² + sigma²) y, variance = sigma² sigma_bar² /
    (sigma² + sigma_bar²), where sigma² is what has been diffused since 0 and sigma_bar² what is left until 1.
    """
    beta, u = 4.0 * noise**2, u[:, None, None, None]
    since, left = beta * u, beta * (1.0 - u)
    total = since + left
    return left / total * x0 + since / total * y + (since * left / total).sqrt() * eps


def flow_state(x0: Tensor, start: Tensor, u: Tensor) -> Tensor:
    """The point of the line (Lipman et al. 2023, with sigma_min 0; Liu et al. 2023, equation 1)."""
    u = u[:, None, None, None]
    return u * start + (1.0 - u) * x0


def sample_bridge(
    denoise: Denoise, cond: Tensor, y: Tensor, step_noise: Callable[[int], Tensor], how: Walk
) -> Iterator[Call]:
    """Walk from y by a network that says x0, a Call for each call of it. Raises UserError for an unknown sampler.

    `step_noise(i)` is asked after the first call, with "i2sb" after all but the last.
    """
    _check(how.sampler, BRIDGE_SAMPLERS)
    beta = 4.0 * how.noise**2
    grid = [*_grid(how), 0.0]
    x, found = y, []
    for index, (u, s) in enumerate(pairwise(grid)):
        x0_raw, x0 = _estimate(denoise, cond, x, u, how)
        found.append(x0)
        if how.sampler == "i2sb":
            mean, deviation = _posterior(x, x0, beta * s, beta * (u - s))
        elif u == 1.0:  # Their booting noise: at y itself there is no eps to keep.
            (a, b, c), deviation = _marginal(s, beta), 0.0
            mean, deviation = a * y + b * x0, c
        else:
            mean, deviation = _dbim(x, x0, y, u, s, beta), 0.0
            if how.sampler == "dbim2" and index > 1 and s > 0.0:
                mean = mean + _second_order(found[-2:], grid[index - 1], u, s, beta)
        x = mean + deviation * step_noise(index) if deviation > 0.0 else mean
        yield Call(index, _t(u, how), x0_raw, x0, x)


def sample_flow(denoise: Denoise, cond: Tensor, start: Tensor, how: Walk) -> Iterator[Call]:
    """Walk from `start` along the network's velocity, a Call for each call. Raises UserError for an unknown sampler."""
    _check(how.sampler, FLOW_SAMPLERS)
    grid = [*_grid(how), 0.0]
    x, calls, before = start, 0, None
    for u, s in pairwise(grid):
        x0_raw, x0 = _estimate(denoise, cond, x, u, how)
        velocity, here = (x - x0) / u, x
        # dx/du = velocity, from u down to s.
        x = here + (s - u) * velocity
        if how.sampler == "ab2" and before is not None and s > 0.0:
            x = _adams_bashforth(here, x0, before, u, s)
        yield Call(calls, _t(u, how), x0_raw, x0, x)
        calls, before = calls + 1, (u, x0)
        if how.sampler == "heun" and s > 0.0:
            x0_raw, x0_there = _estimate(denoise, cond, x, s, how)
            x = here + (s - u) * (velocity + (x - x0_there) / s) / 2.0
            yield Call(calls, _t(s, how), x0_raw, x0_there, x)
            calls += 1


def _estimate(denoise: Denoise, cond: Tensor, x: Tensor, u: float, how: Walk) -> tuple[Tensor, Tensor]:
    """x0_hat before and after it is bounded."""
    t = torch.full((x.shape[0],), _t(u, how), dtype=torch.int64, device=x.device)
    with torch.no_grad():
        output = denoise(x, cond, t)
    x0_raw = x - u * output if how.velocity else output
    return x0_raw, bounded(x0_raw, how.clamp)


def _grid(how: Walk) -> list[float]:
    """u at the visited timesteps, from 1 down."""
    t = timesteps(np.ones(how.timesteps), how.steps)
    return [(int(i) + 1) / how.timesteps for i in t]


def _t(u: float, how: Walk) -> int:
    return round(u * how.timesteps) - 1


def _marginal(u: float, beta: float) -> tuple[float, float, float]:
    """a, b and c of x_u = a y + b x0 + c eps: a = SNR_1 / SNR_u, b = 1 - a, c² = sigma² b, where SNR = 1 / sigma².

    Zhou et al. 2024, with alpha 1 and sigma² = beta u.
    """
    sigma2, sigma2_end = beta * u, beta
    a = sigma2 / sigma2_end
    return a, 1.0 - a, math.sqrt(sigma2 * (1.0 - a))


def _dbim(x: Tensor, x0: Tensor, y: Tensor, u: float, s: float, beta: float) -> Tensor:
    """A step without noise (Zheng et al. 2024, with rho 0): the eps of x, at the next marginal."""
    a, b, c = _marginal(u, beta)
    eps = (x - a * y - b * x0) / c
    a, b, c = _marginal(s, beta)
    return a * y + b * x0 + c * eps


def _second_order(found: list[Tensor], r: float, u: float, s: float, beta: float) -> Tensor:
    """What the slope of x0_hat over lambda = log(b / c) adds: c_s times the integral of slope (lambda - lambda_u)
    e^lambda."""
    lam = [math.log(b / c) for _, b, c in (_marginal(at, beta) for at in (r, u, s))]
    h = lam[2] - lam[1]
    slope = (found[1] - found[0]) / (lam[1] - lam[0])
    integral = math.exp(lam[2]) * (h - 1.0 + math.exp(-h))
    return _marginal(s, beta)[2] * integral * slope


def _posterior(x: Tensor, x0: Tensor, before: float, between: float) -> tuple[Tensor, float]:
    """Mean and deviation of p(x_s | x0, x_u) (I2SB): what has been diffused before s, and from s to u."""
    mean = between / (between + before) * x0 + before / (between + before) * x
    return mean, math.sqrt(before * between / (between + before))


def _adams_bashforth(x: Tensor, x0: Tensor, before: tuple[float, Tensor], u: float, s: float) -> Tensor:
    """dx/dw = (x - x0(w)) / w from u to s where x0(w) = p + q w goes through both estimates.

    Its solution is x(w) = p + c w - q w log w.
    """
    at, x0_before = before
    q = (x0_before - x0) / (at - u)
    p = x0 - q * u
    c = (x - p) / u + q * math.log(u)
    return p + c * s - q * s * math.log(s)


def _check(sampler: str, known: tuple[str, ...]) -> None:
    if sampler not in known:
        raise UserError(f"sampler {sampler!r} is unknown; choose one of {', '.join(known)}")
