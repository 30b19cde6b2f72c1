"""A Brownian bridge between the target and the input picture (I2SB, Liu et al. 2023; BBDM, Li et al. 2023).

With u = (t + 1) / T, the share of the way from the target x0 to the input picture y, and s the setting `noise`:

    x_t = (1 - u) x0 + u y + c(u) eps,   c(u) = 2 s sqrt(u (1 - u))

At t = T-1 the state is the input picture itself, at t = 0 nearly the target. It is the process of I2SB with
a constant beta of 4 s² over a time from 0 to 1, and that of BBDM with the scale 2 s².
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import jax.numpy as jnp
import numpy as np

from export.edge.sampling.spacing import timesteps
from export.edge.sampling.table import Plan
from jax_impl.config.checks import require
from jax_impl.diffusion.process import (
    PROCESSES,
    Bound,
    Levels,
    Noised,
    Process,
    ProcessConfig,
    Published,
    check_plan,
    check_shown,
    share_of_start,
    tables_of,
)
from jax_impl.shapes import Cond, Features, Timesteps

BridgeSampler = Literal["dbim", "dbim2", "i2sb"]
BRIDGE_SAMPLERS: tuple[str, ...] = get_args(BridgeSampler)


@dataclass(frozen=True)
class BridgeConfig(ProcessConfig):
    """A Brownian bridge from the input picture to the target; the network says the clean picture."""

    process: Literal["bridge"] = "bridge"
    """Diffusion process: gaussian, one-pass, bridge, flow or a plugin's; another than the preset's has its own settings
    and defaults."""
    noise: float = 0.25
    """Standard deviation of the noise in the middle of the bridge, above 0."""
    prediction: Literal["x0"] = "x0"
    """The network's target: the clean picture."""
    sampler: BridgeSampler = "dbim"
    """Recommended sampler, stored with the weights: `dbim` adds noise once, after the first call, and `dbim2` is its
    second order; `i2sb` adds noise after every call but the last."""
    sample_steps: int = 4
    """Recommended number of calls of the network, stored with the weights."""
    spacing: Literal["trailing", "logsnr"] = "trailing"
    """Recommended choice of timesteps, stored with the weights."""

    accepts: ClassVar[tuple[str, ...]] = ("gaussian", "one-pass", "flow")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_shown(self)
        require(self.noise > 0.0, "diffusion.noise", self.noise, "choose a value above 0")

    def create(self, published: Published | None = None) -> Bridge:
        """The process; what a bundle publishes are its samplers' tables."""
        return Bridge(self)


PROCESSES.add("bridge", BridgeConfig)


class Bridge(Process):
    """The bridge of the settings."""

    def __init__(self, config: BridgeConfig) -> None:
        self.config, self.timesteps = config, config.timesteps
        self._share = share_of_start(config.timesteps)
        self._spread = 2.0 * config.noise * _brownian(self._share)

    def corrupt(self, x0: Features, cond: Cond, t: Timesteps, noise: Features) -> Noised:
        """A sample of q(x_t | x0, y), y the first channels of `cond` (I2SB, BBDM)."""
        source = cond[..., : x0.shape[-1]]
        share, spread = (
            jnp.asarray(column, x0.dtype)[t][:, None, None, None] for column in (self._share, self._spread)
        )
        x_t = (1.0 - share) * x0 + share * source + spread * noise
        # There is no noise at T-1, and no trace of x0 either: the ratio of the two is 0.
        levels = Levels(1.0 - share, jnp.maximum(spread, 1e-6), jnp.ones_like(share))
        return Noised(x_t, t, noise, levels, source)

    def target(self, x0: Features, noised: Noised) -> Features:
        """The clean picture."""
        return x0

    def to_x0(self, output: Features, x_t: Features, t: Timesteps) -> Features:
        """The output itself."""
        return output

    def plan(self, steps: int, sampler: str, eta: float = 0.0, *, spacing: str = "trailing") -> Plan:
        """The table of a sampler; each starts from the input picture at u = 1.

        - "dbim": Zheng et al. 2024 ("DBIM") with no noise of its own; at u = 1, where eps cannot be told
          from the state, eps is drawn, their "booting noise". It is the Euler step of DDBM's probability flow (Zhou et
          al. 2024) in their variables.
        - "dbim2": their second order, by the difference of the last two x0_hat over lambda = log((1 - u) / c(u));
          first order in the first two steps and in the last, where lambda has no end.
        - "i2sb": the posterior of I2SB, with x0_hat for x0; new noise in every step but the last.
        """
        check_plan(sampler, BRIDGE_SAMPLERS, eta)
        # log SNR of x_t once y is known; at u = 1 it has no end, and is cut off.
        snr = np.maximum(1.0 - self._share, 1e-12) / (4.0 * self.config.noise**2 * self._share)
        t = timesteps(snr / (1.0 + snr), steps, spacing)
        now = self._share[t]
        after = np.append(now[1:], 0.0)
        columns = _i2sb(now, after) if sampler == "i2sb" else _dbim(now, after)
        if sampler == "dbim2":
            columns = _second_order(columns, now, after)
        columns["noise"] = 2.0 * self.config.noise * columns["noise"]
        fixed = {"x0_from_output": np.ones(steps), "start_from_source": 1.0, "start_from_noise": 0.0}
        return Plan.from_columns({"t": t, **columns, **fixed})

    def bound(self, sampler: str) -> Bound:
        """That of the settings."""
        return Bound(self.config.clamp, self.config.threshold)

    def published(self) -> Published:
        """The tables of all its samplers."""
        return tables_of(self, BRIDGE_SAMPLERS, self.config.sample_steps, self.config.spacing)


def _brownian(share: np.ndarray) -> np.ndarray:
    """The deviation of a Brownian bridge of unit rate, sqrt(u (1 - u))."""
    return np.sqrt(share * (1.0 - share))


def _dbim(now: np.ndarray, after: np.ndarray) -> dict[str, np.ndarray]:
    """Steps from u = `now` to u = `after` that keep eps = (x - (1 - u) x0_hat - u y) / c(u); noise at unit rate."""
    here, there = _brownian(now), _brownian(after)
    kept = np.divide(there, here, out=np.zeros_like(there), where=here > 0.0)
    return {
        "next_from_x0": 1.0 - after - (1.0 - now) * kept,
        "next_from_x": kept,
        "next_from_start": after - now * kept,
        "noise": np.where(here > 0.0, 0.0, there),
    }


def _second_order(first: dict[str, np.ndarray], now: np.ndarray, after: np.ndarray) -> dict[str, np.ndarray]:
    """Zheng et al. 2024: adds the integral of x0_hat's slope over lambda, of the last two calls.

    With h the growth of lambda in the step and h' in the one before, c(s) e^lambda(s) (h - 1 + e^-h) / h' times their
    difference; c(s) e^lambda(s) is 1 - s.
    """
    inner = slice(2, len(now) - 1)
    log_snr = 0.5 * (np.log1p(-now[1:]) - np.log(now[1:]))
    growth = np.diff(log_snr)
    weight = np.zeros(len(now))
    step, before = growth[1:], growth[:-1]
    weight[inner] = (1.0 - after[inner]) * (step + np.expm1(-step)) / before
    return {**first, "next_from_x0": first["next_from_x0"] + weight, "next_from_previous": -weight}


def _i2sb(now: np.ndarray, after: np.ndarray) -> dict[str, np.ndarray]:
    """Steps by the posterior of a Brownian motion between x0_hat and x; noise at unit rate."""
    ratio = after / now
    return {"next_from_x0": 1.0 - ratio, "next_from_x": ratio, "noise": np.sqrt(after * (1.0 - ratio))}
