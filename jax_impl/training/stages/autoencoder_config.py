"""Settings of the stage `autoencoder`."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from export.edge.errors import UserError
from export.edge.model.codec import CODEC
from jax_impl.config.checks import require
from jax_impl.diffusion.losses.adversarial import DISCRIMINATOR
from jax_impl.diffusion.losses.anchor import PROGRESS
from jax_impl.diffusion.losses.hybrid import HybridConfig
from jax_impl.diffusion.losses.registry import REALISM, LossConfig
from jax_impl.diffusion.losses.texture import TextureConfig
from jax_impl.diffusion.one_pass import OnePassConfig
from jax_impl.model.codec import IdentityCodecConfig
from jax_impl.model.learned_codec import Filled, ReconstructionConfig
from jax_impl.training.interfaces import Stage
from jax_impl.training.stages.realism_config import RealismStageConfig
from jax_impl.training.stages.registry import STAGES, later

INTO_ITSELF = "pictures are encoded and decoded here, with no noise and no translation"
"""Why some settings of loss terms have no meaning in this stage."""
LEVELS = {"weighting": "uniform", "largest_t": None}
UNUSABLE: Mapping[str, Mapping[str, object]] = {
    "hybrid": {"weighting": "uniform"},
    "lpips": LEVELS,
    "clip": {**LEVELS, "directional": 0.0},
}
"""Of loss terms, the settings that go by the noise level, or by the way from input to target, and the one value that
each can have here."""


@dataclass(frozen=True)
class Reconstruction(RealismStageConfig):
    """The stage inside: every picture is translated into itself, in one pass and from random weights."""

    stage: str = "autoencoder"

    gives: ClassVar[tuple[str, ...]] = (PROGRESS, REALISM, DISCRIMINATOR)
    instead: ClassVar[str] = "leave it out"
    in_parts: ClassVar[bool] = True

    def check(self, config: Any) -> None:
        """Each term has a meaning where input and target are the same picture, in one pass."""
        for term in self.terms(config):
            for name, value in UNUSABLE.get(term.term, {}).items():
                found = getattr(term, name)
                where = f"stages.{self.stage}.losses.{term.term}.{name}"
                require(found == value, where, found, f"{INTO_ITSELF}; choose {'none' if value is None else value}")
        super().check(config)


@dataclass(frozen=True)
class AutoencoderStageConfig(RealismStageConfig):
    """The codec learns to encode and decode the pictures of the pairs, inputs and targets alike."""

    stage: str = "autoencoder"
    losses: tuple[LossConfig, ...] = (HybridConfig(mae_weight=1.0), TextureConfig(weight=0.1, directions=8))
    """Loss terms between a picture and what the decoder makes of its state, in place of those of the run, each at most
    once: any but `anchor`; `lpips` and `clip` with the weighting `uniform`."""
    learning_rate: float = 2e-3
    """Largest learning rate of the codec's AdamW, above 0; its course is that of optim."""
    ema_decay: float = 0.99
    """Decay of the moving average of the codec's weights, which is what the stage publishes, from 0 (none) to below
    1."""

    warm: ClassVar[bool] = False
    learns_codec: ClassVar[bool] = True

    def check(self, config: Any) -> None:
        """There is a codec to learn, its loss terms have a meaning, and a stage after it trains the denoiser."""
        rule = "the stage autoencoder trains a codec with weights; add --codec latent"
        require(config.codec.learned, "codec", config.codec.codec, rule)
        names = " ".join(stage.stage for stage in config.stages)
        first, *others = config.stages
        rule = "put the stage autoencoder first, once: what was trained before it fits no other codec"
        require(first.learns_codec and not any(stage.learns_codec for stage in others), "stages", names, rule)
        name_denoising = "name denoising after it"
        if others and others[0].brings:
            name_denoising = later(["autoencoder", "denoising"], others[0].stage)
        rule = f"the stage autoencoder trains no denoiser; {name_denoising}"
        require(bool(others) and not others[0].warm, "stages", names, rule)
        require(bool(self.terms(config)), "stages.autoencoder.losses", "without weights", "give one term a weight")
        self.inside(config)

    def inside(self, config: Any) -> Any:
        """The settings of a run whose one stage translates pictures into themselves through the codec's states.

        Raises UserError for loss terms that have no meaning there.
        """
        # A later stage has the settings with the weights that this one has trained.
        codec = config.codec.own if isinstance(config.codec, Filled) else config.codec
        own = Reconstruction(losses=self.losses, learning_rate=self.learning_rate, ema_decay=self.ema_decay)
        return replace(
            config,
            model=ReconstructionConfig(codec=codec),
            codec=IdentityCodecConfig(),
            diffusion=OnePassConfig(clamp=None),
            losses=(HybridConfig(),),
            train=replace(config.train, sample_steps=1),
            stages=(own,),
        )

    def check_start(self, trained: Any, networks: Collection[str]) -> None:
        """A bundle with a codec has a denoiser for just that one, and one without has a denoiser for no codec."""
        if CODEC in networks:
            raise UserError(
                "the stage autoencoder trains a codec from its beginning, and --init-from names weights that have one; "
                "add --stages denoising to train on with it"
            )
        raise UserError(
            "the stage autoencoder trains a codec from its beginning, and --init-from names weights of a network that "
            "fits no such codec; leave out --init-from"
        )

    def create(self, config: Any) -> Stage:
        """The stage. Its module is imported here, by name: it takes the settings, and these hold this class."""
        return importlib.import_module("jax_impl.training.stages.autoencoder").AutoencoderStage(self, config)


STAGES.add("autoencoder", AutoencoderStageConfig)
