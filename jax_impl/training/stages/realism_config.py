"""Settings of the stage `realism`."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from jax_impl.config.checks import require
from jax_impl.diffusion.losses.adversarial import DISCRIMINATOR, AdversarialConfig
from jax_impl.diffusion.losses.anchor import MEAN, PROGRESS, AnchorConfig
from jax_impl.diffusion.losses.colour import ColourConfig
from jax_impl.diffusion.losses.registry import REALISM, LossConfig
from jax_impl.diffusion.losses.texture import TextureConfig
from jax_impl.training.interfaces import Stage
from jax_impl.training.stages.registry import STAGES, StageConfig


@dataclass(frozen=True)
class RealismStageConfig(StageConfig):
    """A trained one-pass network learns the texture of the targets, near to its own colours."""

    stage: str = "realism"
    losses: tuple[LossConfig, ...] = (
        TextureConfig(weight=5.0),
        ColourConfig(weight=2.0, at_mean=2.5),
        AnchorConfig(weight=0.05, at_mean=400.0),
    )
    """Loss terms of this stage, in place of those of the run, each at most once: `texture`, `adversarial`, `colour`,
    `anchor` or any other."""
    learning_rate: float = 6e-4
    """Largest learning rate of the network's AdamW, above 0; its course is that of optim."""
    ema_decay: float = 0.995
    """Decay of the moving average of the weights, which is what the stage publishes, from 0 (none) to below 1."""

    gives: ClassVar[tuple[str, ...]] = (MEAN, PROGRESS, REALISM, DISCRIMINATOR)
    warm: ClassVar[bool] = True
    in_parts: ClassVar[bool] = False
    """Whether a batch may pass in parts, optim.accumulate."""

    def __post_init__(self) -> None:
        super().__post_init__()
        rate, decay, names = self.learning_rate, self.ema_decay, [term.term for term in self.losses]
        require(rate > 0.0, f"stages.{self.stage}.learning_rate", rate, "choose a value above 0")
        require(0.0 <= decay < 1.0, f"stages.{self.stage}.ema_decay", decay, "choose 0 to below 1")
        where, rule = f"stages.{self.stage}.losses", "name at least one term, such as texture, and each once"
        require(0 < len(names) == len(set(names)), where, names, rule)

    def terms(self, config: Any) -> Sequence[LossConfig]:
        """Its own, but those of weight 0."""
        return [term for term in self.losses if term.weight > 0.0]

    def adversary(self) -> AdversarialConfig | None:
        """The settings of the discriminator; None where there is none."""
        found = (term for term in self.losses if isinstance(term, AdversarialConfig) and term.weight > 0.0)
        return next(found, None)

    def check(self, config: Any) -> None:
        """It trains one pass, on whole batches, and some term has a weight."""
        super().check(config)
        process, parts = config.diffusion.process, config.optim.accumulate
        rule = "the stage realism trains one-pass; add --diffusion.process one-pass, or use its preset"
        require(process == "one-pass", "diffusion.process", process, rule)
        rule = "the stage realism compares whole batches; choose 1"
        require(parts == 1 or self.in_parts, "optim.accumulate", parts, rule)
        require(bool(self.terms(config)), "stages.realism.losses", "without weights", "give one term a weight above 0")

    def create(self, config: Any) -> Stage:
        """The stage. Its module is imported here, by name: it takes the settings, and these hold this class."""
        return importlib.import_module("jax_impl.training.stages.realism").RealismStage(self, config)


STAGES.add("realism", RealismStageConfig)
