"""One pass: the network is called once, at the last timestep, and says the clean picture.

It is the last step of gaussian diffusion alone, where x_t holds nothing of the target. The start is noise of a chosen
strength, or nothing. With a slider the timestep is free for another meaning: T-1 asks for the mean of all plausible
pictures, T-1-SLIDER for the most realistic one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import jax.numpy as jnp
import numpy as np

from export.edge.errors import UserError
from export.edge.sampling.table import Plan
from jax_impl.config.checks import require
from jax_impl.diffusion.process import PROCESSES, Bound, Levels, Noised, Process, ProcessConfig, Published
from jax_impl.shapes import Array, Cond, Features, Float, Timesteps

SAMPLER = "one-pass"
SLIDER = 100
"""Timesteps from realism 0 to realism 1. So near to T-1, a network of gaussian diffusion expects noise alone."""


@dataclass(frozen=True)
class OnePassConfig(ProcessConfig):
    """One call of the network, at the last timestep; it says the clean picture."""

    process: Literal["one-pass"] = "one-pass"
    """Diffusion process: gaussian, one-pass, bridge, flow or a plugin's; another than the preset's has its own settings
    and defaults."""
    start_noise: float = 0.0
    """Standard deviation of the noise that the network starts from, 0 or more; 0 gives one picture for each input and
    no grain."""
    slider: bool = False
    """Train the network for every realism from 0, the mean picture, to 1, the sharpest; sampling then takes a
    `--realism`. The stage realism teaches the difference."""
    prediction: Literal["x0"] = "x0"
    """The network's target: the clean picture."""
    sampler: Literal["one-pass"] = SAMPLER
    """Recommended sampler, stored with the weights."""
    sample_steps: int = 1
    """Number of calls of the network, 1."""

    accepts: ClassVar[tuple[str, ...]] = ("gaussian",)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.start_noise >= 0.0, "diffusion.start_noise", self.start_noise, "choose 0 or more")
        require(self.sample_steps == 1, "diffusion.sample_steps", self.sample_steps, "this process has one step")
        require(
            self.timesteps > SLIDER or not self.slider,
            "diffusion.timesteps",
            self.timesteps,
            f"diffusion.slider needs at least {SLIDER + 1}; choose more, or leave it out",
        )

    @property
    def most_steps(self) -> int:
        """One."""
        return 1

    def continuing(self, trained: ProcessConfig) -> ProcessConfig:
        """The slider is not taken over: it says what training is to do."""
        found = super().continuing(trained)
        return replace(found, slider=self.slider) if isinstance(found, OnePassConfig) else found

    def create(self, published: Published | None = None) -> OnePass:
        """The process; with `published`, from the start that the bundle says."""
        if published is None or published.tables is None or 1 not in published.tables.get(SAMPLER, {}):
            return OnePass(self, self.start_noise)
        return OnePass(self, published.tables[SAMPLER][1].start_from_noise)


PROCESSES.add("one-pass", OnePassConfig)


class OnePass(Process):
    """Whatever t is asked for, the state is that of T-1: `start_noise` times the noise."""

    def __init__(self, config: OnePassConfig, start_noise: float, *, sharpest: bool = False) -> None:
        self.config, self.start_noise, self.timesteps = config, start_noise, config.timesteps
        self._sharpest = sharpest

    def corrupt(self, x0: Features, cond: Cond, t: Timesteps, noise: Features) -> Noised:
        """The start, and T-1 for every picture; with a slider t is spread over those that stand for a realism."""
        one = jnp.ones((len(x0), 1, 1, 1), x0.dtype)
        levels = Levels(0.0 * one, self.start_noise * one, one)
        step = jnp.zeros_like(t)
        if self.config.slider:
            step = jnp.full_like(t, SLIDER) if self._sharpest else t * (SLIDER + 1) // self.timesteps
        return Noised(self.start_noise * noise, self.timesteps - 1 - step, noise, levels)

    def realism(self, t: Timesteps) -> Float[Array, " batch"]:
        """What a timestep of `corrupt` asks for, 0 to 1; 1 where there is no slider."""
        if not self.config.slider:
            return jnp.ones(t.shape, jnp.result_type(float))
        return (self.timesteps - 1 - t) / SLIDER

    def sharpest(self) -> OnePass:
        """The process whose `corrupt` always asks for realism 1."""
        return OnePass(self.config, self.start_noise, sharpest=True)

    def target(self, x0: Features, noised: Noised) -> Features:
        """The clean picture."""
        return x0

    def to_x0(self, output: Features, x_t: Features, t: Timesteps) -> Features:
        """The output itself."""
        return output

    def plan(self, steps: int, sampler: str, eta: float = 0.0, *, spacing: str = "trailing") -> Plan:
        """A table of one row; any spacing gives the same."""
        if sampler != SAMPLER:
            raise UserError(f"sampler {sampler!r} is unknown; choose one of {SAMPLER}")
        if steps != 1:
            raise UserError(f"the model has no table of {SAMPLER} in {steps} steps; choose one of 1")
        if eta != 0.0:
            raise UserError(f"eta {eta} belongs to ddim of gaussian diffusion; leave it out")
        one = np.ones(1)
        mean_t = np.array([self.timesteps - 1])
        columns = {"t": mean_t, "x0_from_output": one, "next_from_x0": one}
        if self.config.slider:
            columns |= {"t": mean_t - SLIDER, "mean_t": mean_t}
        return Plan.from_columns({**columns, "start_from_noise": float(self.start_noise)})

    def bound(self, sampler: str) -> Bound:
        """That of the settings."""
        return Bound(self.config.clamp, self.config.threshold)

    def published(self) -> Published:
        """Its table."""
        return Published(tables={SAMPLER: {1: self.plan(1, SAMPLER)}})
