"""Colour: the output's local means are those of the target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jax_impl.config.checks import require
from jax_impl.diffusion.losses.registry import LOSSES, LossConfig, LossSample, Parts, Term, by_realism
from jax_impl.shapes import Array, Features, Float


@dataclass(frozen=True)
class ColourConfig(LossConfig):
    """Absolute error of the means of squares of `side` pixels: it keeps colours and leaves detail free."""

    term: Literal["colour"] = "colour"
    side: int = 8
    """Side of the squares, pixels, 1 to 256."""
    at_mean: float = 1.0
    """With diffusion.slider, weight at realism 0 as a multiple of `weight`, above 0; that at realism 1 is `weight`,
    and those in between are on a logarithmic scale."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(1 <= self.side <= 256, "losses.colour.side", self.side, "choose 1 to 256")
        require(self.at_mean > 0.0, "losses.colour.at_mean", self.at_mean, "choose more than 0")

    def create(self) -> Term:
        """A term with a value for each picture."""

        def colour(sample: LossSample, key: jax.Array, aux: Mapping[str, Any]) -> tuple[jax.Array, Parts]:
            error = local_means(sample.x0_hat - sample.x0, self.side)
            return by_realism(self.at_mean, aux) * jnp.mean(jnp.abs(error), axis=(1, 2, 3)), {}

        return colour


def local_means(pictures: Features, side: int) -> Float[Array, "batch rows columns channels"]:
    """Means of squares of side × side pixels (or of the whole side of a smaller picture); what is over is left out."""
    height, width = (min(side, length) for length in pictures.shape[1:3])
    windows = (1, height, width, 1)
    return jax.lax.reduce_window(pictures, 0.0, jax.lax.add, windows, windows, "VALID") / (height * width)


LOSSES.add("colour", ColourConfig)
