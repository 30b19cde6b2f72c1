"""Named starting points for a run."""

from __future__ import annotations

from jax_impl.config import (
    AugmentConfig,
    Config,
    DataConfig,
    DiffusionConfig,
    OptimConfig,
    SeedModelConfig,
    TrainConfig,
    UNetModelConfig,
)


def seed() -> Config:
    """The network and recipe of the original script: 12.6 M parameters, eps-prediction, 128 × 128."""
    return Config(model=SeedModelConfig())


def tiny() -> Config:
    """A small residual network that two CPU cores train in minutes: x0-prediction, EMA, 128 × 128."""
    return Config(
        data=DataConfig(
            augment=AugmentConfig(
                crop=0.1,
                rotation=0.0,
                perspective=0.0,
                brightness=0.1,
                contrast=0.1,
                saturation=0.1,
                hue=0.02,
                jitter_probability=0.5,
            )
        ),
        model=UNetModelConfig(patch=8, width=64, multipliers=(1, 2)),
        # Two steps score best on real pairs; each further one lets more of the start noise through as grain.
        diffusion=DiffusionConfig(prediction="x0", sample_steps=2),
        optim=OptimConfig(learning_rate=1e-3, schedule="cosine", warmup_steps=30, ema_decay=0.99),
        train=TrainConfig(epochs=20, batch_size=16, sample_steps=2),
    )


PRESETS = {"seed": seed, "tiny": tiny}
