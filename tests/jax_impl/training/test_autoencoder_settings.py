"""What the stage `autoencoder` refuses: loss terms without a meaning there, and stages that do not go together."""

from __future__ import annotations

import dataclasses

import pytest

from export.edge.errors import UserError
from jax_impl.config.tree import Config
from jax_impl.diffusion.flow import FlowConfig
from jax_impl.diffusion.losses.anchor import AnchorConfig
from jax_impl.diffusion.losses.clip import ClipConfig
from jax_impl.diffusion.losses.hybrid import HybridConfig
from jax_impl.diffusion.losses.lpips import LpipsConfig
from jax_impl.diffusion.losses.registry import LOSSES, LossConfig
from jax_impl.model.latent import LatentCodecConfig
from jax_impl.training.stages.autoencoder_config import AutoencoderStageConfig
from jax_impl.training.stages.from_mean_config import FromMeanStageConfig
from jax_impl.training.stages.registry import DenoisingStageConfig


@pytest.fixture
def config() -> Config:
    plain = Config()
    return dataclasses.replace(
        plain,
        codec=LatentCodecConfig(),
        diffusion=dataclasses.replace(plain.diffusion, clamp=None),
        stages=(AutoencoderStageConfig(), DenoisingStageConfig()),
    )


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (AnchorConfig(), r"losses is 'anchor': the stage autoencoder gives it no mean; leave it out"),
        (HybridConfig(weighting="min_snr"), r"losses\.hybrid\.weighting is 'min_snr': .* choose uniform"),
        (LpipsConfig(file="x"), r"losses\.lpips\.weighting is 'snr': .* choose uniform"),
        (LpipsConfig(file="x", weighting="uniform", largest_t=5), r"losses\.lpips\.largest_t is 5: .* choose none"),
        (ClipConfig(file="x", weighting="uniform", directional=0.5), r"losses\.clip\.directional is 0\.5: .* choose 0"),
    ],
)
def test_terms_without_a_meaning_are_refused(config: Config, term: LossConfig, message: str) -> None:
    own = AutoencoderStageConfig(losses=(HybridConfig(mae_weight=1.0), term) if term.term != "hybrid" else (term,))
    with pytest.raises(UserError, match=rf"stages\.autoencoder\.{message}"):
        dataclasses.replace(config, stages=(own, config.stages[1]))


def test_every_other_term_has_a_meaning(config: Config) -> None:
    usable = [term for name, term in LOSSES.items() if name not in ("anchor", "clip", "lpips")]
    losses = [tuple(term() for term in usable)]  # type: ignore[call-arg]
    losses += [(LpipsConfig(file="x", weighting="uniform", size=32),), (ClipConfig(file="x", weighting="uniform"),)]
    for terms in losses:
        own = AutoencoderStageConfig(losses=terms)
        made = dataclasses.replace(config, stages=(own, config.stages[1]))
        assert made.stages[0].inside(made).stages[0].terms(made) == list(terms)


def test_stages_that_do_not_go_together_are_refused(config: Config) -> None:
    alone = dataclasses.replace(config, codec=type(Config().codec)(), stages=(DenoisingStageConfig(),))
    with pytest.raises(UserError, match="codec is 'identity': the stage autoencoder trains a codec with weights"):
        dataclasses.replace(alone, stages=config.stages)
    with pytest.raises(UserError, match=r"stages is 'autoencoder': .* trains no denoiser; name denoising after it"):
        dataclasses.replace(config, stages=config.stages[:1])
    alone = r"train autoencoder denoising in a run before, then from-mean with --stages from-mean --init-from"
    for stages in ((config.stages[0], FromMeanStageConfig()), (*config.stages, FromMeanStageConfig())):
        for diffusion in (config.diffusion, FlowConfig(source="mean", clamp=None)):
            with pytest.raises(UserError, match=alone):
                dataclasses.replace(config, stages=stages, diffusion=diffusion)
    with pytest.raises(UserError, match=r"stages\.autoencoder\.learning_rate is 0\.0"):
        AutoencoderStageConfig(learning_rate=0.0)
