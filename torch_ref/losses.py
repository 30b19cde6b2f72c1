"""Loss terms by name, as in `jax_impl.diffusion.losses`: LOSSES, and the weighted sum of those that a config names.

An entry makes a term of its settings: `LOSSES[name](settings)` is `term(sample, generator, aux) -> (value, parts)`, the
value a scalar or (batch,), the parts what to log.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from export.edge.errors import UserError
from export.edge.registry import Registry

Parts = dict[str, Tensor]


@dataclass(frozen=True)
class LossSample:
    """A batch after the network; pictures (batch, channels, height, width), t int64 (batch,)."""

    cond: Tensor
    x0: Tensor
    x_t: Tensor
    t: Tensor
    noise: Tensor
    output: Tensor
    target: Tensor
    signal: Tensor
    """√ᾱ_t"""
    noise_level: Tensor
    """√(1-ᾱ_t)"""
    prediction: str
    """What the network says: eps, x0 or v."""

    @property
    def x0_hat(self) -> Tensor:
        """The clean pictures that `output` stands for, unclamped."""
        if self.prediction == "eps":
            return (self.x_t - self.noise_level * self.output) / self.signal
        return self.output if self.prediction == "x0" else self.signal * self.x_t - self.noise_level * self.output


Term = Callable[[LossSample, torch.Generator | None, Mapping[str, Any]], tuple[Tensor, Parts]]
LOSSES: Registry[Callable[[Mapping[str, Any]], Term]] = Registry("loss term")


def hybrid(settings: Mapping[str, Any]) -> Term:
    """Mean squared error plus `mae_weight` times the mean absolute error, on the network's own target.

    Raises UserError for settings that it does not have.
    """
    known = {"mae_weight": 0.1, "weighting": "uniform", "snr_gamma": 5.0}
    if odd := sorted(settings.keys() - known.keys()):
        raise UserError(f"config losses.hybrid.{odd[0][:80]} is not a setting; choose one of {', '.join(known)}")
    mae_weight, weighting, gamma = (known | dict(settings)).values()
    if weighting not in ("uniform", "min_snr"):
        raise UserError(f"config losses.hybrid.weighting is {reprlib.repr(weighting)}: choose uniform or min_snr")

    def term(sample: LossSample, generator: torch.Generator | None, aux: Mapping[str, Any]) -> tuple[Tensor, Parts]:
        error, weight = sample.output - sample.target, 1.0
        if weighting == "min_snr":
            weight = min_snr(sample.prediction, sample.signal, sample.noise_level, gamma)
        mse, mae = (weight * error.square()).mean((1, 2, 3)), (weight * error.abs()).mean((1, 2, 3))
        return mse + mae_weight * mae, {"mse": mse, "mae": mae}

    return term


LOSSES.add("hybrid", hybrid)


def min_snr(prediction: str, signal: Tensor, noise: Tensor, gamma: float) -> Tensor:
    """Weight of a picture's errors, shaped like its levels √ᾱ and √(1-ᾱ).

    min(SNR, γ) on the error of the x0 that the output stands for, SNR = ᾱ/(1-ᾱ)
    (Hang et al. 2023, section 3.4).
    """
    snr = (signal / noise).square()
    return snr.clamp(max=gamma) / {"eps": snr, "x0": 1.0, "v": snr + 1.0}[prediction]


class Losses:
    """The weighted sum of the terms that a config tree names. Raises UserError for one that cannot be made."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._terms: list[tuple[float, Term]] = []
        for entry in _entries(config):
            settings = {name: value for name, value in entry.items() if name not in ("term", "weight")}
            weight = entry.get("weight", 1.0)
            if not isinstance(weight, int | float):
                raise UserError(f"config losses.weight is {reprlib.repr(weight)}, not a number")
            self._terms.append((weight, LOSSES.find(entry.get("term"), "config losses.term")(settings)))

    def __call__(
        self, sample: LossSample, generator: torch.Generator | None = None, aux: Mapping[str, Any] | None = None
    ) -> Parts:
        """Means over the batch: `loss`, the sum, and the terms' parts; a later term's value takes the place of an
        earlier one's of the same name."""
        total, parts = torch.zeros((), dtype=sample.x0.dtype, device=sample.x0.device), {}
        for weight, term in self._terms:
            value, found = term(sample, generator, aux or {})
            total = total + weight * value
            parts |= {name: part.mean() for name, part in found.items()}
        return {**parts, "loss": total.mean()}


def _entries(config: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """`losses` of a config tree; before there were any, `diffusion` held the settings of the one that there was."""
    found = config.get("losses")
    if found is None:
        held = config.get("diffusion")
        names = {"mae_weight": "mae_weight", "loss_weight": "weighting", "snr_gamma": "snr_gamma"}
        older = held if isinstance(held, Mapping) else {}
        return [{"term": "hybrid", **{new: older[old] for old, new in names.items() if old in older}}]
    if not isinstance(found, list | tuple) or not found or not all(isinstance(entry, Mapping) for entry in found):
        raise UserError(f"config losses is {reprlib.repr(found)}: a list of loss terms belongs here")
    return found
