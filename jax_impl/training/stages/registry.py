"""The stages that `stages` names."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from jax_impl.config import tagged
from jax_impl.config.checks import require
from jax_impl.config.fields import FREE_ON_RESUME
from jax_impl.training.interfaces import Stage


@dataclass(frozen=True)
class StageConfig(ABC):
    """Settings of a stage; a subclass names itself in `stage` and is added to STAGES under that name."""

    stage: str
    epochs: int | None = field(default=None, metadata=FREE_ON_RESUME)
    """Length of the stage, epochs; none for train.epochs."""

    def __post_init__(self) -> None:
        require(self.epochs is None or self.epochs >= 1, "stages.epochs", self.epochs, "choose at least 1, or none")

    @abstractmethod
    def create(self, config: Any) -> Stage:
        """The stage, for the settings of a run (`jax_impl.config.tree.Config`)."""


STAGES = tagged.registry(StageConfig, "stage", "stage")


@dataclass(frozen=True)
class DenoisingStageConfig(StageConfig):
    """The network learns to predict its target from noised pictures."""

    stage: str = "denoising"

    def create(self, config: Any) -> Stage:
        """The stage. Its module is imported here, by name: it takes the settings, and these hold this class."""
        return importlib.import_module("jax_impl.training.stages.denoising").DenoisingStage(config)


STAGES.add("denoising", DenoisingStageConfig)
