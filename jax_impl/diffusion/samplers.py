"""From a start to a picture, as one scan over the rows of a table (`export.edge.sampling.table`): a row for each call.

The tables are those that run on the device; whatever the process, this loop knows the table alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from export.edge.errors import UserError
from export.edge.sampling.table import COND, Plan
from jax_impl.diffusion.process import Bound
from jax_impl.shapes import Array, Cond, Features, Float, Key

Denoise = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
"""(x_t, cond, t) to the network's output; pictures (batch, height, width, 3), t integers (batch,)."""
StepNoise = Callable[[jax.Array], jax.Array]
"""Number of a call, from 0, to the standard normal noise that is added after it, shaped like the state."""


class Sampled(NamedTuple):
    """What a sampler returns."""

    x0: Features
    """The picture, (batch, height, width, 3): the state after the last call.

    It is the last clean estimate, bounded; where nothing is bounded it goes beyond [-1, 1].
    """
    x0_raw: Features
    """The last clean estimate before it is bounded."""
    frames: Float[Array, "kept batch height width channels"]
    """x after the kept calls, (kept, batch, height, width, 3)."""


def bounded(x0_raw: Features, clamp: float | None, threshold: float = 0.0) -> Features:
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


def start_state(plan: Plan, networks: Mapping[str, Denoise], cond: Cond, noise: Features) -> Features:
    """The state that a plan begins with, from standard normal `noise` (batch, height, width, 3) and its source.

    The source is the guiding picture, or what one of the `networks` says of zeros at the first call's timestep.
    Raises UserError for a network that is not there.
    """
    if plan.start_from_source == 0.0:
        return noise if plan.start_from_noise == 1.0 else plan.start_from_noise * noise
    source = cond[..., : noise.shape[-1]]
    if plan.source != COND:
        if plan.source not in networks:
            raise UserError(f"the sampler starts from the network {plan.source!r}; there is only {', '.join(networks)}")
        t = jnp.full(noise.shape[0], plan.t[0], jnp.int32)
        source = networks[plan.source](jnp.zeros_like(noise), cond, t)
    return plan.start_from_source * source + plan.start_from_noise * noise


def noise_of(keys: Key[Array, " batch"], shape: Sequence[int], dtype: jnp.dtype) -> StepNoise:
    """Noise of pictures of one shape: that of picture b in call i is from fold_in(keys[b], i), whatever the batch."""

    def draw(call: jax.Array) -> jax.Array:
        return jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, call), shape, dtype))(keys)

    return draw


def beginning_with(first: Features, step_noise: StepNoise) -> StepNoise:
    """That noise, with `first` for the first call: the start noise, of a plan whose start takes none.

    So a plan that adds noise once draws the same picture from it everywhere (`export.edge.sampling.loop.call_noise`).
    """
    return lambda call: jnp.where(call == 0, first, step_noise(call))


def sample(
    denoise: Denoise,
    cond: Cond,
    start: Features,
    plan: Plan,
    step_noise: StepNoise,
    bound: Bound,
    kept: Sequence[int] = (),
) -> Sampled:
    """Walk from the state `start` to pictures that go with `cond`.

    cond: (batch, height, width, 3 or 5); start: (batch, height, width, 3). Every call of the network forms the clean
    estimate, brings it into range (`bounded`), then moves on from there. `step_noise` is called where the plan adds
    noise. The states after the calls in `kept` (indices from 0) are returned too.
    """
    dtype = start.dtype
    # Calls that are not kept all write to one spare slot behind the others.
    slots = np.full(len(plan), len(kept), np.int32)
    slots[list(kept)] = np.arange(len(kept))
    used = {name: bool(getattr(plan, name).any()) for name in _OPTIONAL}

    def body(carry: tuple[jax.Array, ...], call: tuple) -> tuple:
        x, _, previous, frames = carry
        index, slot, t, row = call
        raw = row["output_share"] * denoise(x, cond, jnp.full(x.shape[0], t, jnp.int32))
        if used["x0_from_x"]:
            raw = row["x0_from_x"] * (row["with_x"] * x + raw)
        if used["x0_from_start"]:
            raw = raw + row["x0_from_start"] * start
        x0 = bounded(raw, *bound)
        x = row["next_from_x0"] * x0 + row["next_from_x"] * x
        for name, term in (("next_from_previous", previous), ("next_from_start", start)):
            if used[name]:
                x = x + row[name] * term
        if used["noise"]:
            x = x + row["noise"] * step_noise(index)
        return (x, raw, x0, frames.at[slot].set(x)), None

    rows = {name: jnp.asarray(column, dtype) for name, column in _columns(plan).items()}
    frames = jnp.zeros((len(kept) + 1, *start.shape), dtype)
    calls = (jnp.arange(len(plan)), jnp.asarray(slots), jnp.asarray(plan.t, jnp.int32), rows)
    (x, raw, _, frames), _ = jax.lax.scan(body, (start, start, jnp.zeros_like(start), frames), calls)
    return Sampled(x, raw, frames[: len(kept)])


_OPTIONAL = ("x0_from_x", "x0_from_start", "next_from_previous", "next_from_start", "noise")
"""Columns that a program leaves out where they are all zero."""


def _columns(plan: Plan) -> dict[str, np.ndarray]:
    """The plan's columns, but with x0_from_x taken out of x0_from_output: x0_raw = x0_from_x (x + output_share out).

    Near T - 1 of gaussian diffusion it matters that x and an eps cancel before √ᾱ divides them. Where x has no part in
    x0_raw, with_x is 0 and x0_from_x is 1.
    """
    with_x = plan.x0_from_x != 0.0
    factor = np.where(with_x, plan.x0_from_x, 1.0)
    names = ("x0_from_start", "next_from_x0", "next_from_previous", "next_from_x", "next_from_start", "noise")
    columns = {name: getattr(plan, name) for name in names}
    return columns | {"x0_from_x": factor, "with_x": with_x, "output_share": plan.x0_from_output / factor}
