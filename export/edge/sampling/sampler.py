"""From noise to a picture: DDIM, re-spaced DDPM, DPM-Solver++(2M) and Heun over any number of steps.

The forward process is x_t = sqrt(a_t) x0 + sqrt(1 - a_t) eps with a = alphas_cumprod,
and a network says eps, x0 or v = sqrt(a_t) eps - sqrt(1 - a_t) x0 (Salimans and Ho 2022).
Every call of the network forms x0_hat, bounds it and moves on from the bounded x0_hat. All
samplers are linear in it, in the one of the call before, and in the state:

    x0_raw = x0_from_x * x + x0_from_output * out
    x0     = bounded(x0_raw)
    x_next = next_from_x0 * x0 + next_from_previous * previous + next_from_x * x + noise * z

where `previous` is the x0 of the call before. A sampler is the table of these six numbers
and t for each call, in float64; the last one lands on a = 1, that is on the bounded x0_hat.
A step is one call, but for "heun", where it is two. Whoever can read the table can sample:
JAX does, and so can any other language.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from export.edge.errors import UserError
from export.edge.sampling.spacing import timesteps

Sampler = Literal["ddim", "ddpm", "dpmpp", "heun"]
Prediction = Literal["eps", "x0", "v"]
SAMPLERS: tuple[str, ...] = get_args(Sampler)
PREDICTIONS: tuple[str, ...] = get_args(Prediction)

Denoise = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""denoise(x_t, cond, t): two float arrays (batch, height, width, 3) in [-1, 1], int64 (batch,)."""


@dataclass(frozen=True)
class Plan:
    """One row of coefficients for each call of the network; all arrays are (calls,).

    There are as many calls as steps, but for "heun", which takes 2 steps - 2 (and 1 for 1).
    """

    t: np.ndarray
    """int64, the timestep that the network is asked about; it never rises."""
    x0_from_x: np.ndarray
    x0_from_output: np.ndarray
    next_from_x0: np.ndarray
    next_from_previous: np.ndarray
    """Weight of the bounded x0_hat of the call before; zero in the first."""
    next_from_x: np.ndarray
    noise: np.ndarray
    """Standard deviation of the noise added; zero in the last step."""

    def __len__(self) -> int:
        return len(self.t)


@dataclass(frozen=True)
class Step:
    """What one call of the network led to; the arrays are (batch, height, width, 3)."""

    index: int
    """Which call, from 0."""
    t: int
    x0_raw: np.ndarray
    """x0_hat before it is bounded."""
    x0: np.ndarray
    """x0_hat after that."""
    x: np.ndarray
    """The state moved to; x0 itself after the last call."""


def coefficients(
    alphas_cumprod: np.ndarray,
    steps: int,
    sampler: str = "ddim",
    eta: float = 0.0,
    *,
    prediction: str,
    spacing: str = "trailing",
) -> Plan:
    """The Plan of a sampler, re-spaced from alphas_cumprod, float64 (T,) strictly falling inside (0, 1).

    - "ddim": Song, Meng, Ermon 2021, equations 12 and 16; `eta` in 0 ... 1 scales its noise.
    - "ddpm": the posterior of Ho, Jain, Abbeel 2020, equations 6 and 7, with
      alpha = a_t / a_s between the kept timesteps t and s.
    - "dpmpp": DPM-Solver++(2M) of Lu et al. 2022, algorithm 2; first order, which is ddim,
      in the first step and in the last.
    - "heun": Karras et al. 2022, algorithm 1 without its noise, over sigma =
      sqrt((1 - a) / a); Euler, which is ddim, in the first step and in the last. It asks
      the network twice in every other step.

    The last three add no noise; only "ddim" takes an `eta`. `prediction` is what the
    network says: "eps", "x0" or "v"; `spacing` is one of `timesteps`. Raises UserError for
    an unknown sampler, prediction or spacing, an eta or a number of steps out of range, a
    schedule that does not fall.
    """
    table = np.asarray(alphas_cumprod, np.float64)
    if table.ndim != 1 or table.size == 0 or not ((table > 0) & (table < 1)).all() or (np.diff(table) >= 0).any():
        raise UserError(
            "alphas_cumprod must be a list of numbers that fall strictly inside (0, 1); export the model again"
        )
    if sampler not in SAMPLERS:
        raise UserError(f"sampler {sampler!r} is unknown; choose one of {', '.join(SAMPLERS)}")
    check_eta(sampler, eta)
    t = timesteps(table, steps, spacing)
    now = table[t]
    after = np.append(now[1:], 1.0)
    ratio = now / after
    left = (1.0 - after) / (1.0 - now)
    if sampler == "ddpm":
        noise = np.sqrt((1.0 - ratio) * left)
        next_from_x = np.sqrt(ratio) * left
        next_from_x0 = np.sqrt(after) * (1.0 - ratio) / (1.0 - now)
    else:
        noise = eta * np.sqrt(left * (1.0 - ratio))
        next_from_x = np.sqrt(np.maximum(1.0 - after - noise**2, 0.0)) / np.sqrt(1.0 - now)
        next_from_x0 = np.sqrt(after) - next_from_x * np.sqrt(now)
    x0_from_x, x0_from_output = x0_weights(prediction, now)
    plan = Plan(t, x0_from_x, x0_from_output, next_from_x0, np.zeros(steps), next_from_x, noise)
    if sampler == "dpmpp":
        return _multistep(plan, now)
    return _corrected(plan, now) if sampler == "heun" else plan


def check_eta(sampler: str, eta: float) -> None:
    """Raise UserError for an eta outside 0 ... 1, or with another sampler than "ddim"."""
    if not 0.0 <= eta <= 1.0:
        raise UserError(f"eta {eta} is outside 0 ... 1; choose a number inside")
    if sampler != "ddim" and eta != 0.0:
        raise UserError(f"eta {eta} belongs to ddim; leave it out or choose the sampler ddim")


def _multistep(ddim: Plan, now: np.ndarray) -> Plan:
    """Lu et al. 2022, algorithm 2: between the first step and the last, D = (1 + w) x0 - w previous takes x0's place.

    w = h / (2 h'), with h and h' the growth of lambda = log(sqrt(a) / sqrt(1 - a)) in this
    step and in the one before. sqrt(a_s) (1 - exp(-h)) is ddim's own next_from_x0.
    """
    growth = np.diff((np.log(now) - np.log1p(-now)) / 2.0)
    weight = np.zeros(len(now))
    weight[1:-1] = growth[1:] / growth[:-1] / 2.0
    return replace(
        ddim, next_from_x0=(1.0 + weight) * ddim.next_from_x0, next_from_previous=-weight * ddim.next_from_x0
    )


def _corrected(ddim: Plan, now: np.ndarray) -> Plan:
    """Karras et al. 2022, algorithm 1: after every step but the first and the last a second call, which corrects it.

    With y = x / sqrt(a) and d = (y - x0) / sigma, Euler goes from sigma_t to sigma_s by d;
    d' is the slope there, from the second call's x0'. Going by (d + d') / 2 instead adds
    (sigma_t / sigma_s - 1) / 2 * (x0' - x0) to y.

    The first step is left to Euler because a cosine schedule begins at a sigma of 64,000:
    that factor, which is 1/2 to 1/4 in the steps behind, would be thousands in this one.
    """
    sigma = np.sqrt((1.0 - now) / now)
    start, end = sigma[1:-1], sigma[2:]
    gain = np.sqrt(now[2:]) * (start / end - 1.0) / 2.0
    ones, zeros = np.ones_like(gain), np.zeros_like(gain)
    second = Plan(ddim.t[2:], ddim.x0_from_x[2:], ddim.x0_from_output[2:], gain, -gain, ones, zeros)
    places = np.arange(2, len(now))
    return Plan(*(np.insert(column, places, vars(second)[name]) for name, column in vars(ddim).items()))


def x0_weights(prediction: str, alphas_cumprod: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The weights of x_t and of the network's output in x0_hat where a is `alphas_cumprod`, both of its shape.

    Raises UserError for an unknown prediction.
    """
    signal, noise = np.sqrt(alphas_cumprod), np.sqrt(1.0 - alphas_cumprod)
    if prediction == "eps":
        return 1.0 / signal, -noise / signal
    if prediction == "x0":
        return np.zeros_like(signal), np.ones_like(signal)
    if prediction == "v":
        return signal, -noise
    raise UserError(f"prediction {prediction!r} is unknown; choose one of {', '.join(PREDICTIONS)}")


def bounded(x0_raw: np.ndarray, clamp: float | None, threshold: float = 0.0) -> np.ndarray:
    """x0_hat (batch, height, width, 3) brought into [-clamp, clamp]; None leaves it alone.

    Values beyond are cut off; with a `threshold` in 0 ... 1, a share of the picture's
    values, they are cut off at s = max(clamp, quantile of |x0_hat|) and all divided by
    s / clamp (dynamic thresholding, Saharia et al. 2022, section 2.3). 0 switches it off.
    """
    if clamp is None:
        return x0_raw
    if threshold == 0.0:
        return np.clip(x0_raw, -clamp, clamp)
    s = np.quantile(np.abs(x0_raw), threshold, axis=(1, 2, 3), keepdims=True)
    s = np.maximum(s, clamp).astype(x0_raw.dtype)
    return np.clip(x0_raw, -s, s) * (clamp / s)


def iterate(
    denoise: Denoise,
    cond: np.ndarray,
    x_T: np.ndarray,
    plan: Plan,
    clamp: float | None,
    step_noise: Callable[[int], np.ndarray],
    threshold: float = 0.0,
) -> Iterator[Step]:
    """Run `plan` from the start noise x_T, a Step for each call of the network.

    `cond` and `x_T` are (batch, height, width, 3); the state keeps the dtype of x_T.
    x0_hat is `bounded` by clamp and threshold. `step_noise(i)` gives the standard normal
    noise of call i and is asked only where the plan adds noise.
    """
    x, x0 = x_T, np.zeros_like(x_T)
    batch = x_T.shape[0]
    for index, t in enumerate(plan.t):
        out = denoise(x, cond, np.full((batch,), t, np.int64))
        # Python floats, not numpy scalars: they leave float32 arrays float32.
        x0_raw = float(plan.x0_from_output[index]) * out
        if plan.x0_from_x[index] != 0.0:
            x0_raw += float(plan.x0_from_x[index]) * x
        previous, x0 = x0, bounded(x0_raw, clamp, threshold)
        x = float(plan.next_from_x[index]) * x
        x += float(plan.next_from_x0[index]) * x0
        if plan.next_from_previous[index] != 0.0:
            x += float(plan.next_from_previous[index]) * previous
        if plan.noise[index] != 0.0:
            x += float(plan.noise[index]) * step_noise(index)
        yield Step(index, int(t), x0_raw, x0, x)
