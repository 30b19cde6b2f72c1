"""From noise to a picture: DDPM, re-spaced DDPM, DDIM and the original script's loop as one scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from export.edge.errors import UserError
from export.edge.sampler import timesteps
from jax_impl.config import AnySamplerName, Prediction
from jax_impl.diffusion.process import to_eps, to_x0

Denoise = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
"""(x_t, cond, t) to the network's output; pictures (batch, height, width, 3), t integers (batch,)."""


@dataclass(frozen=True)
class SamplerConfig:
    """How to walk from noise to a picture."""

    sampler: AnySamplerName = "ddim"
    """`ddpm` is the ancestral chain, re-spaced when steps < T; `ddim` is deterministic at eta 0.

    `original` is the original script's loop, for comparison: below T steps it leaves most of the noise in.
    """
    steps: int = 50
    eta: float = 0.0
    """Share of the ancestral noise that DDIM puts back, 0 to 1."""


class Draw(NamedTuple):
    """What a sampler returns."""

    x0: jax.Array
    """The picture, (batch, height, width, 3): the state after the last step.

    With `ddim` and `ddpm` it is the last clean estimate, clamped; with `original`, which
    clamps nothing, it goes beyond [-1, 1].
    """
    x0_raw: jax.Array
    """The last clean estimate before its clamp."""
    frames: jax.Array
    """x after the kept steps, (kept, batch, height, width, 3)."""


class Grid(NamedTuple):
    """Per-step numbers, each (steps,), from t = T-1 down; in float64 on the host until they meet pictures."""

    t: Any
    signal: Any
    noise: Any
    next_signal: Any
    direction: Any
    sigma: Any


def make_grid(alphas_cumprod: np.ndarray, config: SamplerConfig) -> Grid:
    """Coefficients of every step; x_next = next_signal · x0_hat + direction · eps_hat + sigma · z.

    `ddim` and `ddpm` re-space them from ᾱ, never from single-step β (Song et al. 2021, eq. 12
    and 16): σ = η √((1-ᾱ_s)/(1-ᾱ_t)) √(1-ᾱ_t/ᾱ_s); with η = 1 the step is the DDPM posterior
    of the re-spaced chain, its variance β̃. The last step lands on ᾱ = 1. For `original` see
    `_original_grid`. Raises UserError for steps outside 1…T, eta outside [0, 1], or an eta
    with another sampler than `ddim`.
    """
    if not 0.0 <= config.eta <= 1.0:
        raise UserError(f"eta is {config.eta}: choose a value from 0 to 1")
    if config.sampler != "ddim" and config.eta != 0.0:
        raise UserError(f"eta is {config.eta}, which means nothing to {config.sampler}; leave it out, or choose ddim")
    t = timesteps(len(alphas_cumprod), config.steps).astype(np.int32)
    if config.sampler == "original":
        return _original_grid(alphas_cumprod, config.steps)
    eta = 1.0 if config.sampler == "ddpm" else config.eta
    now = alphas_cumprod[t]
    after = np.append(now[1:], 1.0)
    sigma = eta * np.sqrt((1.0 - after) / (1.0 - now)) * np.sqrt(1.0 - now / after)
    direction = np.sqrt(np.maximum(1.0 - after - sigma**2, 0.0))
    return Grid(t, np.sqrt(now), np.sqrt(1.0 - now), np.sqrt(after), direction, sigma)


def _original_grid(alphas_cumprod: np.ndarray, steps: int) -> Grid:
    """The original script's loop: the step from t to t-1 (Ho et al. 2020, algorithm 2, σ² = β), wherever t goes next.

    x_next = (x - β_t/√(1-ᾱ_t) eps) / √α_t + √β_t z at t = linspace(T-1, 0, steps), cut off to
    whole numbers; no noise at t = 0. With x = √ᾱ_t x0_hat + √(1-ᾱ_t) eps that is
    √ᾱ_{t-1} x0_hat + √α_t (1-ᾱ_{t-1})/√(1-ᾱ_t) eps + √β_t z, because 1-ᾱ_t-β_t = α_t (1-ᾱ_{t-1}).
    """
    last = len(alphas_cumprod) - 1
    # In whole numbers: in floating point each library's linspace cuts some timesteps one too low.
    t = (last + (-last * np.arange(steps)) // max(steps - 1, 1)).astype(np.int32)
    now, before = alphas_cumprod[t], np.append(1.0, alphas_cumprod)[t]
    alpha = now / before
    direction = np.sqrt(alpha) * (1.0 - before) / np.sqrt(1.0 - now)
    sigma = np.where(t > 0, np.sqrt(1.0 - alpha), 0.0)
    return Grid(t, np.sqrt(now), np.sqrt(1.0 - now), np.sqrt(before), direction, sigma)


def sample(
    denoise: Denoise,
    cond: jax.Array,
    x_start: jax.Array,
    keys: jax.Array,
    alphas_cumprod: np.ndarray,
    config: SamplerConfig,
    *,
    prediction: Prediction,
    clamp: float | None,
    kept: Sequence[int] = (),
    step_noise: jax.Array | None = None,
) -> Draw:
    """Draw pictures that go with `cond`.

    cond: (batch, height, width, 3) in [-1, 1]. x_start: standard normal noise of that
    shape. keys: PRNG keys (batch,). alphas_cumprod: float64 (T,). Every step forms the clean estimate, clamps it
    to ±clamp (None, and always with `original`: leaves it alone), derives the noise again
    from the clamped estimate, then moves on. The noise of picture b in step i comes from
    fold_in(keys[b], i), whatever else is in the batch, or from step_noise (steps, batch,
    height, width, 3) where given. The pictures after the steps in `kept` (indices from 0)
    are returned too.
    """
    grid = make_grid(alphas_cumprod, config)
    bound = None if config.sampler == "original" else clamp
    dtype = x_start.dtype
    # Steps that are not kept all write to one spare slot behind the others.
    slots = np.full(config.steps, len(kept), np.int32)
    slots[list(kept)] = np.arange(len(kept))
    stochastic = bool(np.any(grid.sigma > 0))

    def draw_noise(index: jax.Array) -> jax.Array:
        shape = x_start.shape[1:]
        return jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, index), shape, dtype))(keys)

    def body(carry: tuple[jax.Array, jax.Array, jax.Array], step: tuple) -> tuple:
        x, _, frames = carry
        index, slot, at, injected = step
        t = jnp.full(x.shape[0], at.t, jnp.int32)
        x0_raw = to_x0(prediction, denoise(x, cond, t), x, at.signal, at.noise)
        x0 = x0_raw if bound is None else jnp.clip(x0_raw, -bound, bound)
        x = at.next_signal * x0 + at.direction * to_eps(x0, x, at.signal, at.noise)
        if stochastic:
            x = x + at.sigma * (draw_noise(index) if injected is None else injected)
        return (x, x0_raw, frames.at[slot].set(x)), None

    scalars = Grid(jnp.asarray(grid.t), *(jnp.asarray(column, dtype) for column in grid[1:]))
    frames = jnp.zeros((len(kept) + 1, *x_start.shape), dtype)
    steps = (jnp.arange(config.steps), jnp.asarray(slots), scalars, step_noise)
    (x, x0_raw, frames), _ = jax.lax.scan(body, (x_start, x_start, frames), steps)
    return Draw(x, x0_raw, frames[: len(kept)])
