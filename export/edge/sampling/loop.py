"""From a start to a picture: the one loop that runs a sampler's table (`export.edge.sampling.table`) on a host."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from export.edge.errors import UserError
from export.edge.model.codec import Codec
from export.edge.sampling.noise import check_word, start_noise, step_noise
from export.edge.sampling.table import COND, Plan

Denoise = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""denoise(x_t, cond, t): two float arrays (batch, height, width, 3) in [-1, 1], int64 (batch,)."""


class Model(Protocol):
    """What `generate` asks of a model; `export.edge.model.metadata.Artifact` has it."""

    @property
    def denoise(self) -> Denoise: ...

    @property
    def codec(self) -> Codec: ...

    @property
    def networks(self) -> Mapping[str, Denoise]:
        """All networks by name, the denoiser among them."""
        ...

    @property
    def clamp(self) -> float | None: ...

    @property
    def threshold(self) -> float: ...


@dataclass(frozen=True)
class Call:
    """What one call of the network led to; the arrays are (batch, height, width, 3)."""

    index: int
    """Which call, from 0."""
    t: int
    x_t: np.ndarray
    """The state that the network was given."""
    x0_raw: np.ndarray
    """x0_hat before it is bounded."""
    x0: np.ndarray
    """x0_hat after that."""
    x: np.ndarray
    """The state moved to; after the last call the picture."""


def generate(model: Model, cond: np.ndarray, plan: Plan, seed: int, denoise: Denoise | None = None) -> Iterator[Call]:
    """Run `plan` from the start that `seed` gives, a Call for each call of the network.

    `cond`: float32 (batch, height, width, 3, or 5 with coordinates) in [-1, 1], pictures; the calls hold states of the
    model's codec, of which `decode` makes pictures. `denoise` is called in the place of
    the model's own, such as one with guidance. Raises UserError for a source that the model lacks.
    """
    shape, cond = model.codec.state_shape(cond.shape), model.codec.encode(cond)
    start = start_state(plan, source_picture(plan, model.networks, cond, shape[-1]), seed, shape)
    called = model.denoise if denoise is None else denoise
    return iterate(
        called, cond, start, plan, model.clamp, lambda index: call_noise(plan, seed, index, shape), model.threshold
    )


def call_noise(plan: Plan, seed: int, index: int, shape: tuple[int, ...]) -> np.ndarray:
    """The noise of call `index`, from 0, float32 of `shape`, standard normal.

    Where the start takes no noise, that of the first call is the start noise: a plan that adds no other has one input
    of noise, like a plan that starts from it.
    """
    first = index == 0 and plan.start_from_noise == 0.0
    return start_noise(seed, shape) if first else step_noise(seed, index, shape)


def final(calls: Iterable[Call]) -> np.ndarray:
    """The state that calls lead to, (batch, height, width, channels). Raises UserError as `finite` does."""
    x = np.empty(0)
    for call in calls:
        x = call.x
    return finite(x)


def finite(values: np.ndarray) -> np.ndarray:
    """What a model returned. Raises UserError where values of it are not finite."""
    if not np.isfinite(values).all():
        raise UserError("the model returned values that are not finite; export it again from a healthy training run")
    return values


def start_state(plan: Plan, source: np.ndarray | None, seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """The state at the beginning, float32 of `shape`: from the noise of `seed` and, unless it is None, a `source`."""
    if source is None and plan.start_from_noise == 0.0:
        check_word("seed", seed)
        return np.zeros(shape, np.float32)
    if source is None:
        z = start_noise(seed, shape)
        return z if plan.start_from_noise == 1.0 else float(plan.start_from_noise) * z
    state = float(plan.start_from_source) * source
    if plan.start_from_noise != 0.0:
        state += float(plan.start_from_noise) * start_noise(seed, shape)
    return state


def source_picture(
    plan: Plan, networks: Mapping[str, Denoise], cond: np.ndarray, channels: int = 3
) -> np.ndarray | None:
    """The picture that the plan starts from, (batch, height, width, 3); None where it starts from noise alone.

    That of a network is its output for an x_t of zeros at the first call's timestep. Raises UserError for a network
    that is not among `networks`.
    """
    if plan.start_from_source == 0.0:
        return None
    picture = cond[..., :channels]
    if plan.source == COND:
        return picture
    if plan.source not in networks:
        raise UserError(
            f"the sampler starts from the network {plan.source!r}, and the model has only {', '.join(networks)}; "
            "export the bundle again"
        )
    return networks[plan.source](np.zeros_like(picture), cond, np.full(len(cond), plan.t[0], np.int64))


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
    start: np.ndarray,
    plan: Plan,
    clamp: float | None,
    step_noise: Callable[[int], np.ndarray],
    threshold: float = 0.0,
) -> Iterator[Call]:
    """Run `plan` from the state `start`, a Call for each call of the network.

    `cond` and `start` are (batch, height, width, 3); the state keeps the dtype of `start`.
    x0_hat is `bounded` by clamp and threshold. `step_noise(i)` gives the standard normal
    noise of call i and is asked only where the plan adds noise.
    """
    x, x0 = start, np.zeros_like(start)
    batch = start.shape[0]
    for index, t in enumerate(plan.t):
        x_t = x
        out = denoise(x_t, cond, np.full((batch,), t, np.int64))
        # Python floats, not numpy scalars: they leave float32 arrays float32. Terms of weight zero are left out.
        x0_raw = float(plan.x0_from_output[index]) * out
        for weights, term in ((plan.x0_from_x, x_t), (plan.x0_from_start, start)):
            if weights[index] != 0.0:
                x0_raw += float(weights[index]) * term
        previous, x0 = x0, bounded(x0_raw, clamp, threshold)
        x = float(plan.next_from_x[index]) * x_t
        x += float(plan.next_from_x0[index]) * x0
        for weights, term in ((plan.next_from_previous, previous), (plan.next_from_start, start)):
            if weights[index] != 0.0:
                x += float(weights[index]) * term
        if plan.noise[index] != 0.0:
            x += float(plan.noise[index]) * step_noise(index)
        yield Call(index, int(t), x_t, x0_raw, x0, x)
