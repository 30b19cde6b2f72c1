"""A toy process that starts from the input picture: x_t = cond + (1 - t / (T - 1)) (x0 - cond), without noise.

The network says x0. Its sampler walks to the next state of the line from cond to x0_hat; none of the loops that run it
has code of its own for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from export.edge.errors import UserError
from export.edge.sampling.table import Plan
from jax_impl.diffusion.process import (
    PROCESSES,
    Bound,
    Levels,
    Noised,
    Process,
    ProcessConfig,
    Published,
    tables_of,
)


@dataclass(frozen=True)
class BridgeConfig(ProcessConfig):
    """Settings of the toy."""

    process: Literal["toy-bridge"] = "toy-bridge"
    timesteps: int = 100
    sampler: str = "bridge"
    sample_steps: int = 5

    def create(self, published: Published | None = None) -> Bridge:
        """The process; its tables follow from the settings."""
        return Bridge(self)


class Bridge(Process):
    """The toy."""

    def __init__(self, config: BridgeConfig) -> None:
        self.config = config
        self.timesteps = config.timesteps

    def corrupt(self, x0: jax.Array, cond: jax.Array, t: jax.Array, noise: jax.Array) -> Noised:
        """A point of the line; the noise has no part in it."""
        signal = 1.0 - t.astype(x0.dtype)[:, None, None, None] / (self.timesteps - 1)
        levels = Levels(signal, jnp.zeros_like(signal), jnp.ones_like(signal))
        return Noised(cond + signal * (x0 - cond), t, noise, levels)

    def target(self, x0: jax.Array, noised: Noised) -> jax.Array:
        """The clean picture."""
        return x0

    def to_x0(self, output: jax.Array, x_t: jax.Array, t: jax.Array) -> jax.Array:
        """The output itself."""
        return output

    def plan(self, steps: int, sampler: str, eta: float = 0.0, *, spacing: str = "trailing") -> Plan:
        """Even steps along the line."""
        if sampler != "bridge" or eta != 0.0:
            raise UserError(f"sampler {sampler!r} is unknown; choose one of bridge, without eta")
        t = np.linspace(self.timesteps - 1, 0, steps + 1)[:-1].round()
        after = np.append(t[1:], 0.0) / (self.timesteps - 1)
        columns = {"t": t, "x0_from_output": np.ones(steps), "next_from_x0": 1.0 - after, "next_from_start": after}
        return Plan.from_columns(columns | {"start_from_source": 1.0, "start_from_noise": 0.0})

    def bound(self, sampler: str) -> Bound:
        """That of the settings."""
        return Bound(self.config.clamp, self.config.threshold)

    def published(self) -> Published:
        """Its tables."""
        return tables_of(self, "bridge", self.config.sample_steps)


@contextmanager
def registered() -> Iterator[None]:
    """With the toy in PROCESSES."""
    PROCESSES.add("toy-bridge", BridgeConfig)
    try:
        yield
    finally:
        del PROCESSES._entries["toy-bridge"]
