"""Settings of the stage `autoencoder`."""

from __future__ import annotations

import importlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, ClassVar

from export.edge.errors import UserError
from export.edge.model.codec import CODEC
from jax_impl.config.checks import require
from jax_impl.diffusion.losses.hybrid import HybridConfig
from jax_impl.diffusion.losses.registry import LossConfig
from jax_impl.diffusion.losses.texture import TextureConfig
from jax_impl.training.interfaces import Stage
from jax_impl.training.stages.realism_config import RealismStageConfig
from jax_impl.training.stages.registry import STAGES, StageConfig


@dataclass(frozen=True)
class AutoencoderStageConfig(RealismStageConfig):
    """The codec learns to encode and decode the pictures of the pairs, inputs and targets alike."""

    stage: str = "autoencoder"
    losses: tuple[LossConfig, ...] = (HybridConfig(mae_weight=1.0), TextureConfig(weight=0.1, directions=8))
    """Loss terms between a picture and what the decoder makes of its state, in place of those of the run, each at most
    once: `hybrid`, `texture`, `adversarial` or any other."""
    learning_rate: float = 2e-3
    """Largest learning rate of the codec's AdamW, above 0; its course is that of optim."""
    ema_decay: float = 0.99
    """Decay of the moving average of the codec's weights, which is what the stage publishes, from 0 (none) to below
    1."""

    warm: ClassVar[bool] = False
    learns_codec: ClassVar[bool] = True

    def check(self, config: Any) -> None:
        """There is a codec to learn, some term has a weight, and a stage after it trains the denoiser."""
        StageConfig.check(self, config)
        rule = "the stage autoencoder trains a codec with weights; add --codec latent"
        require(config.codec.learned, "codec", config.codec.codec, rule)
        names = " ".join(stage.stage for stage in config.stages)
        first, *others = config.stages
        rule = "put the stage autoencoder first, once: what was trained before it fits no other codec"
        require(first.learns_codec and not any(stage.learns_codec for stage in others), "stages", names, rule)
        rule = "the stage autoencoder trains no denoiser; name denoising after it"
        require(bool(others) and not others[0].warm, "stages", names, rule)
        require(bool(self.terms(config)), "stages.autoencoder.losses", "without weights", "give one term a weight")

    def check_start(self, trained: Any, networks: Collection[str]) -> None:
        """A bundle with a codec has a denoiser for just that one."""
        if CODEC in networks:
            raise UserError(
                "the stage autoencoder trains a codec from its beginning, and --init-from names weights that have one; "
                "add --stages denoising to train on with it"
            )

    def create(self, config: Any) -> Stage:
        """The stage. Its module is imported here, by name: it takes the settings, and these hold this class."""
        return importlib.import_module("jax_impl.training.stages.autoencoder").AutoencoderStage(self, config)


STAGES.add("autoencoder", AutoencoderStageConfig)
