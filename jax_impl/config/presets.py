"""Named starting points for a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from export.edge.registry import Registry
from jax_impl.config.data import AugmentConfig, DataConfig
from jax_impl.config.tree import Config, DiffusionConfig, OptimConfig, TrainConfig
from jax_impl.diffusion.losses.hybrid import HybridConfig
from jax_impl.diffusion.losses.laplacian import LaplacianConfig
from jax_impl.diffusion.one_pass import OnePassConfig
from jax_impl.model.latent import LatentCodecConfig
from jax_impl.model.seed_unet import SeedModelConfig
from jax_impl.model.unet import UNetModelConfig
from jax_impl.training.stages.autoencoder_config import AutoencoderStageConfig
from jax_impl.training.stages.realism_config import RealismStageConfig
from jax_impl.training.stages.registry import DenoisingStageConfig

GENTLE = AugmentConfig(
    crop=0.1,
    rotation=0.0,
    perspective=0.0,
    brightness=0.1,
    contrast=0.1,
    saturation=0.1,
    hue=0.02,
    jitter_probability=0.5,
)
"""Changes that leave no borders and keep the colours of the hour."""


def seed() -> Config:
    """The network and recipe of the original script: 12.6 M parameters, eps-prediction, 128 × 128."""
    return Config(model=SeedModelConfig())


def tiny() -> Config:
    """A small residual network that two CPU cores train in minutes: x0-prediction, EMA, 128 × 128."""
    return Config(
        data=DataConfig(augment=GENTLE),
        model=UNetModelConfig(patch=8, width=64, multipliers=(1, 2)),
        # Two steps score best on real pairs; each further one lets more of the start noise through as grain.
        diffusion=DiffusionConfig(prediction="x0", sample_steps=2),
        optim=OptimConfig(optimizer="muon", learning_rate=1e-3, schedule="cosine", warmup_steps=30, ema_decay=0.99),
        train=TrainConfig(epochs=20, batch_size=16, sample_steps=2),
    )


def quick() -> Config:
    """The most of a few minutes on CPU cores: one call of a small network with attention, x0-prediction, 128 × 128."""
    start = tiny()
    # Attention over 8 × 8 blocks, and each pixel's place: the sun of the evening stands far from that of the morning.
    # The bilateral head takes the morning's away, since it is brighter than the sky around it.
    network = UNetModelConfig(
        patch=8, width=64, multipliers=(1, 2), head="bilateral", attention_levels=(1,), coordinates=True
    )
    return replace(
        start,
        model=network,
        # Every training picture is one without any trace of the target; gaussian diffusion has one in a thousand.
        diffusion=OnePassConfig(),
        losses=(HybridConfig(), LaplacianConfig()),
        optim=replace(start.optim, ema_decay=0.995),
        # For the same pictures, many small steps learn more than few large ones.
        train=replace(start.train, batch_size=4, sample_steps=1),
    )


def base() -> Config:
    """A residual network with attention for accelerators: 37 M parameters, v-prediction, EMA, bfloat16, 128 × 128."""
    return Config(
        data=DataConfig(augment=GENTLE),
        # Every level costs about the same: as channels double, pixels quarter. Attention stands where positions are
        # few, at 16 × 16 and 8 × 8.
        model=UNetModelConfig(
            patch=2,
            width=96,
            multipliers=(1, 2, 3, 4),
            attention_levels=(2, 3),
            head_channels=48,
            dropout=0.1,
            compute_dtype="bfloat16",
        ),
        diffusion=DiffusionConfig(prediction="v", sampler="dpmpp", sample_steps=20),
        optim=OptimConfig(learning_rate=2e-4, schedule="cosine", warmup_steps=500, ema_decay=0.999),
        train=TrainConfig(batch_size=16, sample_steps=20),
    )


def sharp() -> Config:
    """Sharp pictures in one pass, in minutes: a small network learns the mean picture, then texture; 128 × 128."""
    return Config(
        data=DataConfig(augment=GENTLE),
        # Convolutions on single pixels after a smooth unfolding: without them the blocks show as a lattice.
        model=UNetModelConfig(patch=4, width=32, multipliers=(1, 2), refine=2, unfold="bilinear"),
        diffusion=OnePassConfig(slider=True),
        optim=OptimConfig(learning_rate=1e-3, schedule="cosine", warmup_steps=30, ema_decay=0.995),
        train=TrainConfig(epochs=10, batch_size=16, sample_steps=1),
        stages=(DenoisingStageConfig(epochs=20), RealismStageConfig(epochs=10)),
    )


def realism() -> Config:
    """The second stage of `sharp` alone: makes the one-pass pictures of a trained network sharp, with --init-from."""
    return replace(sharp(), stages=(RealismStageConfig(),))


def latent() -> Config:
    """Latent diffusion for larger pictures: an autoencoder, then a small network in its states; 256 × 256."""
    start = tiny()
    return replace(
        start,
        data=replace(start.data, size=256),
        codec=LatentCodecConfig(),
        # As many positions as `tiny` has; its layers from and to blocks of pixels are thinner here.
        model=UNetModelConfig(patch=2, width=64, multipliers=(1, 2)),
        # States have about mean 0 and standard deviation 1, and no sharp bounds.
        diffusion=replace(start.diffusion, clamp=None),
        train=replace(start.train, batch_size=8),
        stages=(AutoencoderStageConfig(epochs=20), DenoisingStageConfig(epochs=20)),
    )


PRESETS: Registry[Callable[[], Config]] = Registry("preset")
"""Functions that make the settings; the docstring of each is its help."""
for _make in (seed, tiny, quick, base, sharp, realism, latent):
    PRESETS.add(_make.__name__, _make)
