"""Anchor: the output stays near that of the network that the stage began with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp

from jax_impl.config.checks import require
from jax_impl.diffusion.losses.registry import LOSSES, REALISM, LossConfig, LossSample, Parts, Term, by_realism

MEAN, PROGRESS = "mean", "progress"
"""Of `aux`: what the network that the stage began with says, pictures like x0_hat; and how far the stage is, 0 to 1."""


@dataclass(frozen=True)
class AnchorConfig(LossConfig):
    """Squared distance to the output of the network that the stage began with; needs a stage that keeps that one."""

    term: Literal["anchor"] = "anchor"
    end: float = 1.0
    """Weight at the end of the stage as a multiple of `weight`, 0 or more; in between it follows half a cosine."""
    at_mean: float = 100.0
    """With diffusion.slider, weight at realism 0 as a multiple of `weight`, 1 or more; that at realism 1 is `weight`,
    and those in between are on a logarithmic scale."""

    needs: ClassVar[tuple[str, ...]] = (MEAN, PROGRESS, REALISM)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.end >= 0.0, "losses.anchor.end", self.end, "choose 0 or more")
        require(self.at_mean >= 1.0, "losses.anchor.at_mean", self.at_mean, "choose 1 or more")

    def create(self) -> Term:
        """A term with a value for each picture."""

        def anchor(sample: LossSample, key: jax.Array, aux: Mapping[str, Any]) -> tuple[jax.Array, Parts]:
            distance = jnp.mean(jnp.square(sample.x0_hat - aux[MEAN]), axis=(1, 2, 3))
            left = 0.5 * (1.0 + jnp.cos(math.pi * aux[PROGRESS]))
            weight = (self.end + (1.0 - self.end) * left) * by_realism(self.at_mean, aux)
            return weight * distance, {"from_mean": distance}

        return anchor


LOSSES.add("anchor", AnchorConfig)
