"""Detail: the output's edges and small bright things are those of the target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jax_impl.config.checks import require
from jax_impl.diffusion.losses.registry import LOSSES, LossConfig, LossSample, Parts, Term
from jax_impl.diffusion.losses.texture import pyramid


@dataclass(frozen=True)
class LaplacianConfig(LossConfig):
    """Absolute error of the bands of a Laplacian pyramid, without the coarsest: it weighs detail, not wide colours.

    The error of each pixel is mostly one of wide areas. In a band, edges and small bright things are all there is.
    """

    term: Literal["laplacian"] = "laplacian"
    levels: int = 4
    """Most levels of the pyramid, 2 to 8; each halves the side, and the coarsest is left out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(2 <= self.levels <= 8, "losses.laplacian.levels", self.levels, "choose 2 to 8")

    def create(self) -> Term:
        """A term with a value for each picture: the sum of its bands' mean absolute errors (Bojanowski et al. 2018,
        equation 3, with equal weights). A picture too small for a second level has none: 0."""

        def laplacian(sample: LossSample, key: jax.Array, aux: Mapping[str, Any]) -> tuple[jax.Array, Parts]:
            *bands, _ = pyramid(sample.x0_hat - sample.x0, self.levels)
            errors = [jnp.mean(jnp.abs(band), axis=(1, 2, 3)) for band in bands]
            return sum(errors, jnp.zeros(len(sample.x0), sample.x0.dtype)), {}

        return laplacian


LOSSES.add("laplacian", LaplacianConfig)
