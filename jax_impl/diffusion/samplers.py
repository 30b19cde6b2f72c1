"""From noise to a picture, as one scan over the rows of a table: one row for each call of the network.

The table of every sampler but the original script's is `export.edge.sampling.table.coefficients`,
the one that runs on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from export.edge.sampling.spacing import Spacing, check_steps
from export.edge.sampling.table import AnySampler, Plan, Prediction, check_eta, coefficients, x0_weights
from jax_impl.diffusion.process import levels_at, to_x0
from jax_impl.diffusion.schedule import Levels

Denoise = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
"""(x_t, cond, t) to the network's output; pictures (batch, height, width, 3), t integers (batch,)."""


@dataclass(frozen=True)
class SamplerConfig:
    """How to walk from noise to a picture."""

    sampler: AnySampler = "ddim"
    """`ddpm` is the ancestral chain, re-spaced when steps < T; `ddim` is deterministic at eta 0.

    `dpmpp` is DPM-Solver++(2M) and `heun` Heun's method: both of second order, and deterministic.
    `original` is the original script's loop, for comparison: below T steps it leaves most of the noise in.
    """
    steps: int = 50
    """Each is one call of the network; `heun` takes two in every step but the first and the last."""
    eta: float = 0.0
    """Share of the ancestral noise that DDIM puts back, 0 to 1."""
    spacing: Spacing = "trailing"
    """Which timesteps are visited, see `export.edge.sampling.spacing.timesteps`; `original` has its own."""
    guidance: float = 1.0
    """Scale of classifier-free guidance, see `jax_impl.diffusion.guidance`; 1 is none."""


class Draw(NamedTuple):
    """What a sampler returns."""

    x0: jax.Array
    """The picture, (batch, height, width, 3): the state after the last step.

    It is the last clean estimate, bounded; with `original`, which bounds nothing, it goes
    beyond [-1, 1].
    """
    x0_raw: jax.Array
    """The last clean estimate before it is bounded."""
    frames: jax.Array
    """x after the kept calls, (kept, batch, height, width, 3)."""


def make_plan(alphas_cumprod: np.ndarray, config: SamplerConfig, prediction: Prediction) -> Plan:
    """The table of a sampler, a row for each call of the network, in float64 on the host.

    alphas_cumprod: float64 (T,). Raises UserError for steps outside 1…T, eta outside
    [0, 1], or an eta with another sampler than `ddim`.
    """
    if config.sampler == "original":
        return _original_plan(alphas_cumprod, config, prediction)
    return coefficients(
        alphas_cumprod, config.steps, config.sampler, config.eta, prediction=prediction, spacing=config.spacing
    )


def _original_plan(alphas_cumprod: np.ndarray, config: SamplerConfig, prediction: Prediction) -> Plan:
    """The original script's loop: the step from t to t-1 (Ho et al. 2020, algorithm 2, σ² = β), wherever t goes next.

    x_next = (x - β_t/√(1-ᾱ_t) eps) / √α_t + √β_t z at t = linspace(T-1, 0, steps), cut off to
    whole numbers; no noise at t = 0. With x = √ᾱ_t x0_hat + √(1-ᾱ_t) eps that is
    √ᾱ_{t-1} x0_hat + √α_t (1-ᾱ_{t-1})/√(1-ᾱ_t) eps + √β_t z, because 1-ᾱ_t-β_t = α_t (1-ᾱ_{t-1}).
    """
    check_eta(config.sampler, config.eta)
    check_steps(len(alphas_cumprod), config.steps)
    last, steps = len(alphas_cumprod) - 1, config.steps
    # In whole numbers: in floating point each library's linspace cuts some timesteps one too low.
    t = last + (-last * np.arange(steps)) // max(steps - 1, 1)
    now, before = alphas_cumprod[t], np.append(1.0, alphas_cumprod)[t]
    alpha = now / before
    from_x = np.sqrt(alpha) * (1.0 - before) / (1.0 - now)
    from_x0 = np.sqrt(before) - from_x * np.sqrt(now)
    noise = np.where(t > 0, np.sqrt(1.0 - alpha), 0.0)
    zeros = np.zeros(steps)
    return Plan(t, *x0_weights(prediction, now), zeros, from_x0, zeros, from_x, zeros, noise)


def bounded(x0_raw: jax.Array, clamp: float | None, threshold: float = 0.0) -> jax.Array:
    """The clean estimate (batch, height, width, 3) brought into [-clamp, clamp]; None leaves it alone.

    Values beyond are cut off; with a `threshold` in 0…1, a share of the picture's values,
    they are cut off at s = max(clamp, quantile of |x0_hat|) and all divided by s / clamp
    (dynamic thresholding, Saharia et al. 2022, section 2.3). 0 switches it off.
    """
    if clamp is None:
        return x0_raw
    if threshold == 0.0:
        return jnp.clip(x0_raw, -clamp, clamp)
    s = jnp.maximum(jnp.quantile(jnp.abs(x0_raw), threshold, axis=(1, 2, 3), keepdims=True), clamp)
    return jnp.clip(x0_raw, -s, s) * (clamp / s)


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
    threshold: float = 0.0,
    kept: Sequence[int] = (),
    step_noise: jax.Array | None = None,
) -> Draw:
    """Draw pictures that go with `cond`.

    cond: (batch, height, width, 3) in [-1, 1]. x_start: standard normal noise of that
    shape. keys: PRNG keys (batch,). alphas_cumprod: float64 (T,). Every call of the network
    forms the clean estimate, brings it into ±clamp (see `bounded`; always left alone with
    `original`), then moves on from there. The noise of picture b in call i comes from
    fold_in(keys[b], i), whatever else is in the batch, or from step_noise (calls, batch,
    height, width, 3) where given. The states after the calls in `kept` (indices from 0)
    are returned too.
    """
    plan = make_plan(alphas_cumprod, config, prediction)
    bound = None if config.sampler == "original" else clamp
    levels, dtype = Levels.of(alphas_cumprod), x_start.dtype
    # Calls that are not kept all write to one spare slot behind the others.
    slots = np.full(len(plan), len(kept), np.int32)
    slots[list(kept)] = np.arange(len(kept))
    stochastic = bool(np.any(plan.noise > 0))
    multistep = bool(np.any(plan.next_from_previous != 0))

    def draw_noise(index: jax.Array) -> jax.Array:
        shape = x_start.shape[1:]
        return jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, index), shape, dtype))(keys)

    def body(carry: tuple[jax.Array, ...], call: tuple) -> tuple:
        x, _, previous, frames = carry
        index, slot, row, injected = call
        t = jnp.full(x.shape[0], row.t, jnp.int32)
        # Not by the table's own two weights: near T - 1 it matters that x and an eps cancel before √ᾱ divides them.
        x0_raw = to_x0(prediction, denoise(x, cond, t), x, *levels_at(levels, t, dtype))
        x0 = bounded(x0_raw, bound, threshold)
        x = row.next_from_x0 * x0 + row.next_from_x * x
        if multistep:
            x = x + row.next_from_previous * previous
        if stochastic:
            x = x + row.noise * (draw_noise(index) if injected is None else injected)
        return (x, x0_raw, x0, frames.at[slot].set(x)), None

    rows = _Row(jnp.asarray(plan.t), *(jnp.asarray(getattr(plan, name), dtype) for name in _Row._fields[1:]))
    frames = jnp.zeros((len(kept) + 1, *x_start.shape), dtype)
    calls = (jnp.arange(len(plan)), jnp.asarray(slots), rows, step_noise)
    (x, x0_raw, _, frames), _ = jax.lax.scan(body, (x_start, x_start, jnp.zeros_like(x_start), frames), calls)
    return Draw(x, x0_raw, frames[: len(kept)])


class _Row(NamedTuple):
    """The columns of a Plan that the scan reads, each (calls,), inside it a number."""

    t: jax.Array
    next_from_x0: jax.Array
    next_from_previous: jax.Array
    next_from_x: jax.Array
    noise: jax.Array
