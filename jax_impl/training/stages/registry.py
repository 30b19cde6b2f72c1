"""The stages that `stages` names."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from export.edge.sampling.table import COND
from jax_impl.config import tagged
from jax_impl.config.checks import require
from jax_impl.config.fields import FREE_ON_RESUME
from jax_impl.diffusion.losses.registry import LossConfig
from jax_impl.training.interfaces import Stage


@dataclass(frozen=True)
class StageConfig(ABC):
    """Settings of a stage; a subclass names itself in `stage` and is added to STAGES under that name."""

    stage: str
    epochs: int | None = field(default=None, metadata=FREE_ON_RESUME)
    """Length of the stage, epochs; none for train.epochs."""

    def __post_init__(self) -> None:
        require(self.epochs is None or self.epochs >= 1, "stages.epochs", self.epochs, "choose at least 1, or none")

    gives: ClassVar[tuple[str, ...]] = ()
    """What the stage gives to loss terms in `aux`."""
    warm: ClassVar[bool] = False
    """Whether the stage makes sense only with a trained network to start from."""
    learns_codec: ClassVar[bool] = False
    """Whether the stage trains the codec of the run, and not a denoiser in its states."""

    instead: ClassVar[str] = "leave it out, or use the stage realism"
    """What to do about a loss term that needs what the stage does not give."""
    brings: ClassVar[tuple[str, ...]] = ()
    """Names of the networks other than the denoiser that the stage keeps, for sampling to start from."""

    def terms(self, config: Any) -> Sequence[LossConfig]:
        """The loss terms of the stage in a run with these settings: those of the run."""
        return config.losses

    def check(self, config: Any) -> None:
        """Raise UserError where the stage cannot do what the settings of a run ask for; called when these are made."""
        for term in self.terms(config):
            lacking = [name for name in term.needs if name not in self.gives]
            where = "losses" if self.terms(config) is config.losses else f"stages.{self.stage}.losses"
            rule = f"the stage {self.stage} gives it no {', '.join(lacking)}; {self.instead}"
            require(not lacking, where, term.term, rule)
            term.check(config)
        source = config.diffusion.starts_from
        names = [stage.stage for stage in config.stages]
        at = next((i for i, stage in enumerate(config.stages) if source in stage.brings), 0)
        remedy = later(names[:at], names[at]) if at else "choose cond, or add --stages from-mean"
        rule = f"the stage {self.stage} has no such network; {remedy}"
        require(source in (COND, *self.brings), "diffusion.source", source, rule)

    def check_start(self, trained: Any, networks: Collection[str]) -> None:
        """Raise UserError where the stage cannot begin with the `networks` of a bundle whose settings are `trained`."""
        return  # Most can.

    @abstractmethod
    def create(self, config: Any) -> Stage:
        """The stage, for the settings of a run (`jax_impl.config.tree.Config`)."""


def later(before: Sequence[str], stage: str) -> str:
    """What to do about a stage that has to be in another run than the stages `before` it."""
    flags = f"--stages {stage} --init-from its model.safetensors"
    return f"train {' '.join(before)} in a run before, then {stage} with {flags}"


STAGES = tagged.registry(StageConfig, "stage", "stage")


@dataclass(frozen=True)
class DenoisingStageConfig(StageConfig):
    """The network learns to predict its target from noised pictures."""

    stage: str = "denoising"

    def create(self, config: Any) -> Stage:
        """The stage. Its module is imported here, by name: it takes the settings, and these hold this class."""
        return importlib.import_module("jax_impl.training.stages.denoising").DenoisingStage(config)


STAGES.add("denoising", DenoisingStageConfig)
