"""What a diffusion process is to the rest of the program: `Process`, its settings and the registry PROCESSES.

A process says how a clean picture becomes the state x_t of a timestep, what a network should say of that state, and by
which tables samplers walk back. Training, validation, sampling and bundles know no more of it than this module says.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import numpy as np

from export.edge.errors import UserError
from export.edge.sampling.table import COND, Plan
from export.edge.sampling.tables import Tables, choose
from jax_impl.config import tagged
from jax_impl.config.checks import require, require_share
from jax_impl.shapes import Array, Cond, Features, Float, Timesteps


class Levels(NamedTuple):
    """What a state is made of at its timestep; each (batch, 1, 1, 1), to broadcast against pictures."""

    signal: Float[Array, "batch 1 1 1"]
    """Weight of x0 in x_t."""
    noise: Float[Array, "batch 1 1 1"]
    """Weight of the noise in x_t."""
    x0_from_output: Float[Array, "batch 1 1 1"]
    """Weight of the network's output in x0_hat: by it an error of the output becomes one of x0_hat."""


class Noised(NamedTuple):
    """A clean picture on its way; pictures (batch, height, width, channels), t integers (batch,)."""

    x_t: Features
    t: Timesteps
    noise: Features
    """The standard normal noise in x_t."""
    levels: Levels
    start: Features | None = None
    """The state at the far end, x_t for the largest t; None where that is noise alone."""


class Published(NamedTuple):
    """What of a process travels with the weights; one of the two."""

    alphas_cumprod: np.ndarray | None = None
    """Gaussian diffusion: ᾱ, float64 (T,), from which any sampler's table follows."""
    tables: Tables | None = None
    """Any other process: the tables of its samplers."""


class Bound(NamedTuple):
    """What brings x0_hat into range in every call, see `jax_impl.diffusion.samplers.bounded`."""

    clamp: float | None = 1.0
    threshold: float = 0.0


class Process(ABC):
    """A diffusion process. Pictures are (batch, height, width, channels) in [-1, 1], timesteps t integers (batch,)."""

    timesteps: int
    """T: timesteps are 0 … T-1, larger ones are further from x0."""
    tables: Tables | None = None
    """Those of the bundle whose weights are sampled; None where the process makes its own."""

    @abstractmethod
    def corrupt(self, x0: Features, cond: Cond, t: Timesteps, noise: Features) -> Noised:
        """The state at t of the clean pictures x0, whose guiding pictures are `cond`; `noise` is standard normal."""

    @abstractmethod
    def target(self, x0: Features, noised: Noised) -> Features:
        """What the network should say of a state, shaped like x0."""

    @abstractmethod
    def to_x0(self, output: Features, x_t: Features, t: Timesteps) -> Features:
        """The clean picture that a network's output stands for, unclamped."""

    @abstractmethod
    def plan(self, steps: int, sampler: str, eta: float = 0.0, *, spacing: str = "trailing") -> Plan:
        """The table of a sampler, a row for each call of the network, in float64 on the host.

        Raises UserError for a sampler that is unknown and for numbers out of range.
        """

    def table(self, steps: int, sampler: str, eta: float = 0.0, *, spacing: str = "trailing") -> Plan:
        """The table by which weights are sampled: the bundle's, however this program would make it, or `plan`'s.

        Raises UserError as `plan` does, and for a table that the bundle lacks.
        """
        if self.tables is not None:
            return choose(self.tables, sampler, steps, eta)
        return self.plan(steps, sampler, eta, spacing=spacing)

    @abstractmethod
    def bound(self, sampler: str) -> Bound:
        """What brings x0_hat into range when this sampler runs."""

    @abstractmethod
    def published(self) -> Published:
        """What travels with the weights, so that samplers in other languages need not know the process."""


TABLE_STEPS = (1, 2, 4, 10, 20, 50)
"""Numbers of steps for which `tables_of` makes tables, and for the recommended one."""


@dataclass(frozen=True)
class ProcessConfig(ABC):
    """Settings of a process; a subclass names itself in `process` and is added to PROCESSES under that name."""

    process: str
    timesteps: int = 1000
    """Number T of timesteps of the forward process, 2 to 100000."""
    prediction: str = "x0"
    """The network's target."""
    cond_dropout: float = 0.0
    """Probability, 0 to below 1, that training hides an input picture, so that sampling can use guidance."""
    guidance: float = 1.0
    """Recommended scale of classifier-free guidance (Ho & Salimans 2022, 1 + w there), stored with the weights; 1 is
    none."""
    clamp: float | None = 1.0
    """Bound of the clean picture's estimate in every sampling step, 1 or more; none to leave it free."""
    threshold: float = 0.0
    """Share of each picture's values, such as 0.995, that dynamic thresholding leaves inside the clamp by shrinking
    the estimate (Saharia et al. 2022, section 2.3); 0 cuts off what is outside."""
    sampler: str = ""
    """Recommended sampler, stored with the weights."""
    sample_steps: int = 50
    """Recommended number of sampling steps, stored with the weights; heun runs the network twice in most of them."""
    spacing: str = "trailing"
    """Recommended choice of timesteps, stored with the weights."""

    accepts: ClassVar[tuple[str, ...]] = ()
    """Other processes whose networks training may start from, where they predict the same."""

    def __post_init__(self) -> None:
        require(2 <= self.timesteps <= 100_000, "diffusion.timesteps", self.timesteps, "choose 2 to 100000")
        require(0.0 <= self.cond_dropout < 1.0, "diffusion.cond_dropout", self.cond_dropout, "choose 0 to below 1")
        require(self.guidance >= 0.0, "diffusion.guidance", self.guidance, "choose 0 or more")
        require(
            self.guidance == 1.0 or self.cond_dropout > 0.0,
            "diffusion.guidance",
            self.guidance,
            "only a network trained with diffusion.cond_dropout above 0 can be guided; set that, or choose 1",
        )
        require(self.clamp is None or self.clamp >= 1.0, "diffusion.clamp", self.clamp, "choose 1 or more, or none")
        require_share("diffusion.threshold", self.threshold)
        require(
            self.threshold == 0.0 or self.clamp is not None,
            "diffusion.threshold",
            self.threshold,
            "it shrinks into diffusion.clamp, which is none; set a clamp, or leave the threshold at 0",
        )
        require(
            1 <= self.sample_steps <= self.timesteps,
            "diffusion.sample_steps",
            self.sample_steps,
            f"choose 1 to diffusion.timesteps ({self.timesteps})",
        )

    @property
    def starts_from(self) -> str:
        """What the samplers start from, in addition to noise: COND, or the name of a network that is trained before."""
        return COND

    @property
    def most_steps(self) -> int:
        """Largest number of sampling steps that the process has."""
        return self.timesteps

    def continuing(self, trained: ProcessConfig) -> ProcessConfig:
        """These settings for weights that were trained with others: those, where it is the same process."""
        same = trained.process == self.process
        return trained if same else replace(self.bounded_as(trained), timesteps=trained.timesteps)

    def bounded_as(self, other: ProcessConfig) -> ProcessConfig:
        """These settings with the bounds of another process's clean estimate: they belong to what is estimated."""
        return replace(self, clamp=other.clamp, threshold=other.threshold)

    @abstractmethod
    def create(self, published: Published | None = None) -> Process:
        """The process; with `published`, as the bundle says that its weights were trained."""


def tables_of(process: Process, samplers: str | Sequence[str], steps: int, spacing: str = "trailing") -> Published:
    """The tables of one or more samplers: in the recommended number of `steps`, and in those of TABLE_STEPS up to T."""
    counts = sorted({steps, *(count for count in TABLE_STEPS if count <= process.timesteps)})
    names = [samplers] if isinstance(samplers, str) else samplers
    return Published(
        tables={name: {count: process.plan(count, name, spacing=spacing) for count in counts} for name in names}
    )


def share_of_start(timesteps: int) -> np.ndarray:
    """u = (t + 1) / T of a process from the target to another picture, float64 (T,): 1 at T-1, 1/T at 0."""
    return np.arange(1, timesteps + 1) / timesteps


def check_plan(sampler: str, samplers: Sequence[str], eta: float) -> None:
    """Raise UserError for a sampler that a process lacks, and for an eta, which none of its samplers takes."""
    if sampler not in samplers:
        raise UserError(f"sampler {sampler!r} is unknown; choose one of {', '.join(samplers)}")
    if eta != 0.0:
        raise UserError(f"eta {eta} belongs to ddim of gaussian diffusion; leave it out")


def check_shown(config: ProcessConfig) -> None:
    """Raise UserError for hidden input pictures, where sampling starts from them."""
    rule = f"the process {config.process} starts from the input picture, which cannot be hidden; choose 0"
    require(config.cond_dropout == 0.0, "diffusion.cond_dropout", config.cond_dropout, rule)


PROCESSES = tagged.registry(ProcessConfig, "process", "diffusion process")
