"""From noise to a picture: DDIM and re-spaced DDPM over any number of steps.

The forward process is x_t = sqrt(a_t) x0 + sqrt(1 - a_t) eps with a = alphas_cumprod,
and a network says eps, x0 or v = sqrt(a_t) eps - sqrt(1 - a_t) x0 (Salimans and Ho 2022).
Every step forms x0_hat, clamps it, takes the eps that belongs to the clamped x0_hat and
moves to the next timestep, so that every step is linear:

    x0_hat = x0_from_x * x_t + x0_from_output * out
    x_next = next_from_x0 * clamp(x0_hat) + next_from_x * x_t + noise * z

A sampler is the table of these five numbers for each step, in float64; the last step
lands on a = 1, that is on the clamped x0_hat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from export.edge.errors import UserError

Sampler = Literal["ddim", "ddpm"]
Prediction = Literal["eps", "x0", "v"]
SAMPLERS: tuple[str, ...] = get_args(Sampler)
PREDICTIONS: tuple[str, ...] = get_args(Prediction)

Denoise = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""denoise(x_t, cond, t): two float arrays (batch, height, width, 3) in [-1, 1], int64 (batch,)."""


@dataclass(frozen=True)
class Plan:
    """One row of coefficients for each sampler step; all arrays are (steps,)."""

    t: np.ndarray
    """int64, the timestep that the network is asked about, descending."""
    x0_from_x: np.ndarray
    x0_from_output: np.ndarray
    next_from_x0: np.ndarray
    next_from_x: np.ndarray
    noise: np.ndarray
    """Standard deviation of the noise added; zero in the last step."""

    def __len__(self) -> int:
        return len(self.t)


@dataclass(frozen=True)
class Step:
    """What one sampler step did; the arrays are (batch, height, width, 3)."""

    index: int
    t: int
    x0_raw: np.ndarray
    """x0_hat before the clamp."""
    x0: np.ndarray
    """x0_hat after the clamp."""
    x: np.ndarray
    """The state that the step moved to; x0 itself after the last step."""


def timesteps(total: int, steps: int) -> np.ndarray:
    """int64 (steps,), descending from total - 1, "trailing" spacing (Lin et al. 2024, table 2).

    Raises UserError when `steps` is outside 1 ... total.
    """
    if not 1 <= steps <= total:
        raise UserError(f"steps {steps} is outside 1 ... {total}; choose a number inside")
    # round((steps - i) * total / steps), halves to the even side, in whole numbers: in floating point the halves
    # fall to either side, and numpy's arange(total, 0, -total / steps) is one too long for many step counts.
    whole, rest = np.divmod(np.arange(steps, 0, -1, dtype=np.int64) * total, steps)
    return whole + ((2 * rest > steps) | ((2 * rest == steps) & (whole % 2 == 1))) - 1


def coefficients(
    alphas_cumprod: np.ndarray,
    steps: int,
    sampler: str = "ddim",
    eta: float = 0.0,
    *,
    prediction: str,
) -> Plan:
    """The Plan of a sampler, re-spaced from alphas_cumprod, float64 (T,) strictly falling inside (0, 1).

    - "ddim": Song, Meng, Ermon 2021, equations 12 and 16; `eta` in 0 ... 1 scales its noise.
    - "ddpm": the posterior of Ho, Jain, Abbeel 2020, equations 6 and 7, with
      alpha = a_t / a_s between the kept timesteps t and s; it takes no `eta`.

    `prediction` is what the network says: "eps", "x0" or "v". Raises UserError for an
    unknown sampler or prediction, an eta or a number of steps out of range, a schedule that does not fall.
    """
    table = np.asarray(alphas_cumprod, np.float64)
    if table.ndim != 1 or table.size == 0 or not ((table > 0) & (table < 1)).all() or (np.diff(table) >= 0).any():
        raise UserError(
            "alphas_cumprod must be a list of numbers that fall strictly inside (0, 1); export the model again"
        )
    if sampler not in SAMPLERS:
        raise UserError(f"sampler {sampler!r} is unknown; choose one of {', '.join(SAMPLERS)}")
    if not 0.0 <= eta <= 1.0:
        raise UserError(f"eta {eta} is outside 0 ... 1; choose a number inside")
    if sampler == "ddpm" and eta != 0.0:
        raise UserError(f"eta {eta} belongs to ddim; leave it out or choose the sampler ddim")
    t = timesteps(table.size, steps)
    now = table[t]
    after = np.append(now[1:], 1.0)
    signal, sigma = np.sqrt(now), np.sqrt(1.0 - now)
    x0_from_x, x0_from_output = _to_x0(prediction, signal, sigma)
    ratio = now / after
    left = (1.0 - after) / (1.0 - now)
    if sampler == "ddim":
        noise = eta * np.sqrt(left * (1.0 - ratio))
        next_from_x = np.sqrt(np.maximum(1.0 - after - noise**2, 0.0)) / sigma
        next_from_x0 = np.sqrt(after) - next_from_x * signal
    else:
        noise = np.sqrt((1.0 - ratio) * left)
        next_from_x = np.sqrt(ratio) * left
        next_from_x0 = np.sqrt(after) * (1.0 - ratio) / (1.0 - now)
    return Plan(t, x0_from_x, x0_from_output, next_from_x0, next_from_x, noise)


def _to_x0(prediction: str, signal: np.ndarray, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The weights of x_t and of the network's output in x0_hat."""
    if prediction == "eps":
        return 1.0 / signal, -sigma / signal
    if prediction == "x0":
        return np.zeros_like(signal), np.ones_like(signal)
    if prediction == "v":
        return signal, -sigma
    raise UserError(f"prediction {prediction!r} is unknown; choose one of {', '.join(PREDICTIONS)}")


def iterate(
    denoise: Denoise,
    cond: np.ndarray,
    x_T: np.ndarray,
    plan: Plan,
    clamp: float | None,
    step_noise: Callable[[int], np.ndarray],
) -> Iterator[Step]:
    """Run `plan` from the start noise x_T, a Step at a time.

    `cond` and `x_T` are (batch, height, width, 3); the state keeps the dtype of x_T.
    x0_hat is clamped to [-clamp, clamp], or left alone for None. `step_noise(i)` gives
    the standard normal noise of step i and is asked only where the plan adds noise.
    """
    x = x_T
    batch = x_T.shape[0]
    for index, t in enumerate(plan.t):
        out = denoise(x, cond, np.full((batch,), t, np.int64))
        # Python floats, not numpy scalars: they leave float32 arrays float32.
        x0_raw = float(plan.x0_from_output[index]) * out
        if plan.x0_from_x[index] != 0.0:
            x0_raw += float(plan.x0_from_x[index]) * x
        x0 = x0_raw if clamp is None else np.clip(x0_raw, -clamp, clamp)
        x = float(plan.next_from_x0[index]) * x0 + float(plan.next_from_x[index]) * x
        if plan.noise[index] != 0.0:
            x += float(plan.noise[index]) * step_noise(index)
        yield Step(index, int(t), x0_raw, x0, x)
