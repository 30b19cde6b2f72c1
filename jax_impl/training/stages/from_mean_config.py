"""Settings of the stage `from-mean`."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, ClassVar

from jax_impl.config.checks import require
from jax_impl.training.interfaces import Stage
from jax_impl.training.stages.registry import STAGES, StageConfig

MEAN = "mean"
"""Name of the network that sampling starts from."""


@dataclass(frozen=True)
class FromMeanStageConfig(StageConfig):
    """The network learns a flow from the pictures of a network that is trained already, which stays as it is."""

    stage: str = "from-mean"

    warm: ClassVar[bool] = True
    brings: ClassVar[tuple[str, ...]] = (MEAN,)

    def check(self, config: Any) -> None:
        """The process starts from that network."""
        super().check(config)
        source = config.diffusion.starts_from
        rule = "the stage from-mean needs --diffusion.process flow --diffusion.source mean"
        require(source == MEAN, "diffusion.source", source, rule)

    def create(self, config: Any) -> Stage:
        """The stage. Its module is imported here, by name: it takes the settings, and these hold this class."""
        return importlib.import_module("jax_impl.training.stages.from_mean").FromMeanStage(config)


STAGES.add("from-mean", FromMeanStageConfig)
