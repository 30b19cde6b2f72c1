"""Squared and absolute error on the network's own target: the loss of the original script, and of every preset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jax_impl.config.checks import require
from jax_impl.diffusion.losses.registry import LOSSES, LossConfig, LossSample, Parts, Term
from jax_impl.diffusion.process import Levels
from jax_impl.shapes import Array, Float


@dataclass(frozen=True)
class HybridConfig(LossConfig):
    """Mean squared error plus `mae_weight` times the mean absolute error, over every element."""

    term: Literal["hybrid"] = "hybrid"
    mae_weight: float = 0.1
    """Weight of the absolute error, 0 or more; that of the squared one is 1."""
    weighting: Literal["uniform", "min_snr"] = "uniform"
    """`min_snr` weighs both errors of each picture by its noise level (Hang et al. 2023)."""
    snr_gamma: float = 5.0
    """Signal-to-noise ratio from which `min_snr` gives no more weight, above 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.mae_weight >= 0.0, "losses.hybrid.mae_weight", self.mae_weight, "choose 0 or more")
        require(self.snr_gamma > 0.0, "losses.hybrid.snr_gamma", self.snr_gamma, "choose a value above 0")

    def check(self, config: Any) -> None:
        """One pass, which knows one noise level alone, is not weighed by it."""
        fits = config.diffusion.process != "one-pass" or self.weighting == "uniform"
        rule = "one pass has no noise level to go by; choose uniform"
        require(fits, "losses.hybrid.weighting", self.weighting, rule)

    def create(self) -> Term:
        """A term with parts `mse` and `mae`, the two errors of each picture, weighted too."""

        def hybrid(sample: LossSample, key: jax.Array, aux: Mapping[str, Any]) -> tuple[jax.Array, Parts]:
            error = sample.output - sample.target
            weight = min_snr(sample.levels, self.snr_gamma) if self.weighting == "min_snr" else 1.0
            mse = jnp.mean(weight * jnp.square(error), axis=(1, 2, 3))
            mae = jnp.mean(weight * jnp.abs(error), axis=(1, 2, 3))
            return mse + self.mae_weight * mae, {"mse": mse, "mae": mae}

        return hybrid


def min_snr(levels: Levels, gamma: float) -> Float[Array, "batch 1 1 1"]:
    """Weight of a picture's errors on the network's own target, shaped like the levels.

    min(SNR, γ) weighs the squared error of x0_hat, with SNR = (signal / noise)² (Hang et al. 2023, section 3.4); the
    square of the output's weight in x0_hat makes it one of the output: 1 for x0, noise² / signal² for eps.
    """
    snr = jnp.square(levels.signal / levels.noise)
    return jnp.minimum(snr, gamma) * jnp.square(levels.x0_from_output)


LOSSES.add("hybrid", HybridConfig)
