"""The training loss, on the network's own target."""

from __future__ import annotations

from torch import Tensor

from export.edge.errors import UserError


def hybrid_loss(
    output: Tensor, target: Tensor, mae_weight: float, weight: Tensor | float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean squared error plus `mae_weight` times the mean absolute error, and the two: (loss, mse, mae), scalars.

    `weight`: of each picture's errors, such as (batch, 1, 1, 1).
    """
    error = output - target
    mse, mae = (weight * error.square()).mean(), (weight * error.abs()).mean()
    return mse + mae_weight * mae, mse, mae


def loss_weight(kind: str, prediction: str, signal: Tensor, noise: Tensor, gamma: float) -> Tensor | float:
    """Weight of a picture's errors, shaped like its levels √ᾱ and √(1-ᾱ).

    `min_snr`: min(SNR, γ) on the error of the x0 that the output stands for, SNR = ᾱ/(1-ᾱ)
    (Hang et al. 2023, section 3.4); `uniform`: 1. Raises UserError for another kind.
    """
    if kind == "uniform":
        return 1.0
    if kind != "min_snr":
        raise UserError(f"config diffusion.loss_weight is {kind!r}: choose uniform or min_snr")
    snr = (signal / noise).square()
    return snr.clamp(max=gamma) / {"eps": snr, "x0": 1.0, "v": snr + 1.0}[prediction]
