"""A run small enough to train in a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jax_impl.config.data import AugmentConfig, DataConfig
from jax_impl.config.tree import Config, DiffusionConfig, OptimConfig, TrainConfig
from jax_impl.data.loader import load
from jax_impl.model.seed_unet import SeedModelConfig
from jax_impl.model.unet import UNetModelConfig
from jax_impl.train import train
from tests.sharing.steps import shared_steps


def make_small_config(kind: str = "unet", **train_settings: object) -> Config:
    """A few built-in scenes at 16 × 16, turned over by chance, and a network of a few thousand weights.

    One level and no other augmentation: tracing and compiling the step is most of what such a run takes.
    """
    settings = {"epochs": 2, "batch_size": 2, "checkpoint_every": 1, "sample_steps": 2}
    # Pictures that come by time depend on how busy the machine is.
    settings |= {"sample_minutes": 0.0} | train_settings
    seed, flips = kind == "seed", AugmentConfig(rotation=0.0, perspective=0.0, jitter_probability=0.0)
    return Config(
        data=DataConfig(size=16, synthetic_pairs=6, synthetic_val_pairs=3, repeats=1, augment=flips),
        model=SeedModelConfig(width=4) if seed else UNetModelConfig(width=8, groups=4, multipliers=(1,), blocks=1),
        diffusion=DiffusionConfig(prediction="eps" if seed else "x0", sample_steps=4),
        optim=OptimConfig(learning_rate=1e-3, ema_decay=0.9, more_ema_decays=(0.2, 0.3)),
        train=TrainConfig(**settings),  # type: ignore[arg-type]
    )


@pytest.fixture(scope="package", autouse=True)
def _traced_once() -> Iterator[None]:
    with shared_steps():
        yield


@pytest.fixture(scope="session")
def small_config() -> Callable[..., Config]:
    """`small_config(kind="unet", **train_settings)`."""
    return make_small_config


@pytest.fixture(scope="session")
def trained_run(once: Callable[..., Path]) -> Path:
    """A finished run of the residual family; read it, don't change it."""
    return once("trained_unet", lambda run: _train(run, make_small_config()))


@pytest.fixture(scope="session")
def trained_seed_run(once: Callable[..., Path]) -> Path:
    """A finished run of the seed network, with averaged weights; read it, don't change it."""
    return once("trained_seed", lambda run: _train(run, make_small_config("seed")))


def _train(run: Path, config: Config) -> Path:
    train(config, run, load(config.data, "train"), load(config.data, "val"))
    return run
