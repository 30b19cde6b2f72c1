"""Settings of the stage `from-mean`."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, ClassVar

from export.edge.errors import UserError
from jax_impl.config.checks import require
from jax_impl.training.interfaces import Stage
from jax_impl.training.stages.registry import STAGES, StageConfig, later

MEAN = "mean"
"""Name of the network that sampling starts from."""


@dataclass(frozen=True)
class FromMeanStageConfig(StageConfig):
    """The network learns a flow from the pictures of a network that is trained already, which stays as it is."""

    stage: str = "from-mean"

    warm: ClassVar[bool] = True
    brings: ClassVar[tuple[str, ...]] = (MEAN,)

    def check(self, config: Any) -> None:
        """The process starts from that network, which no stage before it brings."""
        before = list(itertools.takewhile(lambda stage: stage is not self, config.stages))
        names, rule = [stage.stage for stage in config.stages], later([stage.stage for stage in before], self.stage)
        require(all(MEAN in stage.brings for stage in before), "stages", " ".join(names), rule)
        super().check(config)
        source = config.diffusion.starts_from
        rule = "the stage from-mean needs --diffusion.process flow --diffusion.source mean"
        require(source == MEAN, "diffusion.source", source, rule)

    def check_start(self, trained: Any, networks: Collection[str]) -> None:
        """Without a network `mean` the denoiser takes its place: one that says x0, and whose picture is the mean."""
        process = trained.diffusion.process
        if MEAN in networks or (process in ("gaussian", "one-pass") and trained.diffusion.prediction == "x0"):
            return
        raise UserError(
            f"the stage {self.stage} needs a network that predicts x0, of gaussian diffusion or one pass; --init-from "
            f"names one of {process} that predicts {trained.diffusion.prediction}"
        )

    def create(self, config: Any) -> Stage:
        """The stage. Its module is imported here, by name: it takes the settings, and these hold this class."""
        return importlib.import_module("jax_impl.training.stages.from_mean").FromMeanStage(config)


STAGES.add("from-mean", FromMeanStageConfig)
