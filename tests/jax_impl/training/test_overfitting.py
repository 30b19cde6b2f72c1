"""The gauge of a discriminator that knows training pairs by heart: 0 for one that does not, 1 for one that does."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_impl.config.tree import Config
from jax_impl.diffusion.losses.adversarial import AdversarialConfig
from jax_impl.diffusion.losses.anchor import AnchorConfig
from jax_impl.diffusion.one_pass import OnePassConfig
from jax_impl.model.network import build
from jax_impl.training.interfaces import Batch, GaugedStage
from jax_impl.training.objective import Problem
from jax_impl.training.stages.overfitting import OVERFITTING, make_gauge
from jax_impl.training.stages.realism_config import RealismStageConfig
from jax_impl.training.stages.registry import DenoisingStageConfig

SmallConfig = Callable[..., Config]


@pytest.fixture(scope="module")
def config(small_config: SmallConfig) -> Config:
    return dataclasses.replace(small_config(sample_steps=1), diffusion=OnePassConfig())


GENERATED = 120
"""Level of what the network draws: with weights of zero, the affine head copies the input."""


def pairs_of(level: int, count: int, size: int) -> Batch:
    """Targets of one grey level; inputs of the level GENERATED."""
    shape = (count, size, size, 3)
    return Batch(np.full(shape, GENERATED, np.uint8), np.full(shape, level, np.uint8))


@pytest.mark.parametrize(
    ("held_out", "expected"),
    [(200, 0.0), (160, 0.5), (120, 1.0)],
    ids=["held-out pairs score like training pairs", "between", "held-out pairs score like generated ones"],
)
def test_it_is_the_papers_ratio(config: Config, held_out: int, expected: float) -> None:
    """The discriminator's score is twice the brightness; training targets have 200 of 255."""
    network, params, stats = build(config, jax.random.key(0))
    networks = {"denoiser": (jax.tree.map(jnp.zeros_like, params), stats)}

    def scores(weights: dict) -> Callable[[jax.Array, jax.Array], jax.Array]:
        return lambda pictures, cond: weights["gain"] * jnp.mean(pictures, axis=(1, 2))

    gauge = make_gauge(Problem.of(network, config), scores)
    train, unseen = (pairs_of(level, count, config.data.size) for level, count in ((200, 5), (held_out, 3)))
    figures = gauge({"gain": jnp.asarray(2.0)}, networks, train, unseen)
    assert figures[OVERFITTING] == pytest.approx(expected, abs=1e-4)
    assert figures["score_training"] == pytest.approx(2.0 * (200 / 127.5 - 1.0), abs=1e-5)
    assert figures["score_generated"] == pytest.approx(2.0 * (GENERATED / 127.5 - 1.0), abs=1e-5)
    # A discriminator that has learned nothing.
    assert gauge({"gain": jnp.asarray(0.0)}, networks, train, unseen)[OVERFITTING] == 0.0


def test_only_the_realism_stage_has_one_and_it_warns_in_one_line(config: Config) -> None:
    terms = (AnchorConfig(), AdversarialConfig(width=2))
    staged = dataclasses.replace(config, stages=(DenoisingStageConfig(), RealismStageConfig(losses=terms)))
    denoising, realism = (own.create(staged) for own in staged.stages)
    assert not isinstance(denoising, GaugedStage)
    assert isinstance(realism, GaugedStage)
    assert realism.warning({OVERFITTING: 0.3}) is None and realism.warning({}) is None
    line = realism.warning({OVERFITTING: 0.83})
    assert line is not None and "overfitting 0.83" in line and "\n" not in line
