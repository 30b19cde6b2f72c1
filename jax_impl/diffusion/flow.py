"""A straight line from the target to the input picture: flow matching (Lipman et al. 2023; Liu et al. 2023).

With u = (t + 1) / T, and a start that is the input picture y with noise of deviation s, the setting `start_noise`:

    start = y + s eps
    x_t   = (1 - u) x0 + u start,   velocity = dx / du = start - x0

Without noise every x_t would give x0 away to a network that knows y: it would learn to undo the mixture, and say the
mean of all targets where sampling begins. The noise makes the start a cloud, from which many targets can be reached.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import jax.numpy as jnp
import numpy as np

from export.edge.sampling.spacing import timesteps
from export.edge.sampling.table import COLUMNS, Plan
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
from jax_impl.shapes import Array, Cond, Features, Float, Timesteps

FlowSampler = Literal["euler", "heun", "ab2"]
FLOW_SAMPLERS: tuple[str, ...] = get_args(FlowSampler)


@dataclass(frozen=True)
class FlowConfig(ProcessConfig):
    """Flow matching along straight lines from the input picture to the target."""

    process: Literal["flow"] = "flow"
    """Diffusion process: gaussian, one-pass, bridge, flow or a plugin's; another than the preset's has its own settings
    and defaults."""
    start_noise: float = 0.25
    """Standard deviation of the noise on the input picture at the start, 0 or more; 0 makes one picture of each input,
    near the mean of all targets that fit it."""
    source: Literal["cond", "mean"] = "cond"
    """What the flow starts from: the input picture, or what a network that is trained already makes of it, with
    --stages from-mean and --init-from."""
    prediction: Literal["x0", "velocity"] = "x0"
    """The network's target: the clean picture, or the difference between the start and the clean picture."""
    sampler: FlowSampler = "euler"
    """Recommended sampler, stored with the weights: first order, or second order by two calls a step (`heun`) or by the
    call before (`ab2`)."""
    sample_steps: int = 4
    """Recommended number of steps, stored with the weights; heun runs the network twice in all but the last."""
    spacing: Literal["trailing"] = "trailing"
    """Choice of timesteps."""

    accepts: ClassVar[tuple[str, ...]] = ("gaussian", "one-pass", "bridge")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_shown(self)
        require(self.start_noise >= 0.0, "diffusion.start_noise", self.start_noise, "choose 0 or more")

    @property
    def starts_from(self) -> str:
        """The source."""
        return self.source

    def create(self, published: Published | None = None) -> Flow:
        """The process; what a bundle publishes are its samplers' tables."""
        return Flow(self)


PROCESSES.add("flow", FlowConfig)


class Flow(Process):
    """The flow of the settings."""

    def __init__(self, config: FlowConfig) -> None:
        self.config, self.timesteps = config, config.timesteps
        self._share = share_of_start(config.timesteps)

    def corrupt(self, x0: Features, cond: Cond, t: Timesteps, noise: Features) -> Noised:
        """The point of the line at t (Liu et al. 2023, equation 1); y is the first channels of `cond`."""
        start = cond[..., : x0.shape[-1]] + self.config.start_noise * noise
        share = self._at(t, x0.dtype)
        from_output = jnp.ones_like(share) if self.config.prediction == "x0" else -share
        # Without start noise nothing hides x0 once y is known, and the ratio of signal and noise has no end.
        levels = Levels(1.0 - share, jnp.maximum(share * self.config.start_noise, 1e-6), from_output)
        return Noised((1.0 - share) * x0 + share * start, t, noise, levels, start)

    def target(self, x0: Features, noised: Noised) -> Features:
        """x0, or the velocity start - x0."""
        if self.config.prediction == "x0":
            return x0
        assert noised.start is not None  # `corrupt` gives it.
        return noised.start - x0

    def to_x0(self, output: Features, x_t: Features, t: Timesteps) -> Features:
        """The output, or the end of the line from x_t along the velocity: x_t - u · output."""
        return output if self.config.prediction == "x0" else x_t - self._at(t, x_t.dtype) * output

    def plan(self, steps: int, sampler: str, eta: float = 0.0, *, spacing: str = "trailing") -> Plan:
        """The table of a sampler of dx/du = (x - x0_hat) / u from u = 1 to 0, in even steps.

        The last step of each is Euler's, which lands on x0_hat.

        - "euler": x_s = x + (s - u) velocity.
        - "heun": the mean of two slopes; the second call is at the point that Euler finds.
        - "ab2": Adams and Bashforth's second order, for x0_hat: it is taken for a straight line over u through the last
          two calls, and x / u is integrated exactly; the first step is Euler's.
        """
        check_plan(sampler, FLOW_SAMPLERS, eta)
        t = timesteps(np.ones(self.timesteps), steps, spacing)
        now = self._share[t]
        after = np.append(now[1:], 0.0)
        ratio = after / now
        zeros = np.zeros(steps)
        columns = dict.fromkeys(COLUMNS, zeros)
        velocity = self.config.prediction == "velocity"
        columns |= {"x0_from_x": zeros + velocity, "x0_from_output": -now if velocity else zeros + 1.0}
        columns |= {"t": t, "next_from_x0": 1.0 - ratio, "next_from_x": ratio}
        if sampler == "heun":
            columns = _corrected(columns, now, after)
        elif sampler == "ab2":
            columns |= _two_calls(now, after)
        start = {"start_from_source": 1.0, "start_from_noise": float(self.config.start_noise)}
        return Plan.from_columns({**columns, **start, "source": self.config.source})

    def bound(self, sampler: str) -> Bound:
        """That of the settings."""
        return Bound(self.config.clamp, self.config.threshold)

    def published(self) -> Published:
        """The tables of all its samplers."""
        return tables_of(self, FLOW_SAMPLERS, self.config.sample_steps, self.config.spacing)

    def _at(self, t: Timesteps, dtype: jnp.dtype) -> Float[Array, "batch 1 1 1"]:
        """u at timesteps t (batch,)."""
        return jnp.asarray(self._share, dtype)[t][:, None, None, None]


def _corrected(euler: dict[str, np.ndarray], now: np.ndarray, after: np.ndarray) -> dict[str, np.ndarray]:
    """Euler's rows with a second call behind each but the last, which adds half the change of slope times the step.

    The slope of the first call is (x_s - x0_hat) / s at Euler's point x_s too, so the change is (x0_hat - x0_hat') / s.
    """
    gain = (now[:-1] - after[:-1]) / (2.0 * after[:-1])
    second = {name: column[1:] for name, column in euler.items()}
    second |= {"next_from_x0": gain, "next_from_previous": -gain, "next_from_x": np.ones_like(gain)}
    places = np.arange(1, len(now))
    return {name: np.insert(column, places, second[name]) for name, column in euler.items()}


def _two_calls(now: np.ndarray, after: np.ndarray) -> dict[str, np.ndarray]:
    """Weights of x0_hat and of the one before in a step from u to s, for x0_hat(w) = x0_hat + (w - u) slope.

    x / u then moves by the integral of -x0_hat(w) / w² from u to s, so x_s gains s (log(u / s) + 1 - u / s) slope. The
    first step has no call before it. The last stays Euler's: the picture is x0_hat, in its bounds.
    """
    weight = np.zeros(len(now))
    u, s = now[1:-1], after[1:-1]
    weight[1:-1] = s * (np.log(u / s) + 1.0 - u / s) / np.diff(now)[:-1]
    return {"next_from_x0": 1.0 - after / now + weight, "next_from_previous": -weight}
