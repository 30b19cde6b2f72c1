"""Loss terms by name, as in `jax_impl.diffusion.losses`: LOSSES, and the weighted sum of those that a config names.

An entry makes a term of its settings: `LOSSES[name](settings)` is `term(sample, generator, aux) -> (value, parts)`, the
value a scalar or (batch,), the parts what to log.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from export.edge.errors import UserError
from export.edge.registry import Registry
from torch_ref import clip as frozen_clip
from torch_ref import lpips as frozen_lpips
from torch_ref.discriminator import Shown, changed, generator_loss
from torch_ref.frozen import open_saved
from torch_ref.texture import band_distance, draw_directions, grid_stride, pyramid

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
    mae_weight, weighting, gamma = _known("hybrid", known, settings)
    if weighting not in ("uniform", "min_snr"):
        raise UserError(f"config losses.hybrid.weighting is {reprlib.repr(weighting)}: choose uniform or min_snr")

    def term(sample: LossSample, generator: torch.Generator | None, aux: Mapping[str, Any]) -> tuple[Tensor, Parts]:
        error, weight = sample.output - sample.target, 1.0
        if weighting == "min_snr":
            weight = min_snr(sample.prediction, sample.signal, sample.noise_level, gamma)
        mse, mae = (weight * error.square()).mean((1, 2, 3)), (weight * error.abs()).mean((1, 2, 3))
        return mse + mae_weight * mae, {"mse": mse, "mae": mae}

    return term


def _known(name: str, known: dict[str, Any], settings: Mapping[str, Any]) -> list[Any]:
    """The settings of a term in the order of `known`, which holds their defaults. UserError for one that is not."""
    if odd := sorted(settings.keys() - known.keys()):
        raise UserError(f"config losses.{name}.{odd[0][:80]} is not a setting; choose one of {', '.join(known)}")
    return list((known | dict(settings)).values())


def _by_realism(at_mean: float, aux: Mapping[str, Any]) -> Tensor | float:
    """What a weight is multiplied by: from `at_mean` at `aux["realism"]` 0 to 1 at 1, on a logarithmic scale."""
    return at_mean ** (1.0 - aux["realism"]) if "realism" in aux else 1.0


def texture(settings: Mapping[str, Any]) -> Term:
    """Sliced Wasserstein distance on patches of input and output together, a scalar over the batch."""
    levels, count, patches = _known("texture", {"levels": 3, "directions": 32, "patches": 2048}, settings)

    def term(sample: LossSample, generator: torch.Generator | None, aux: Mapping[str, Any]) -> tuple[Tensor, Parts]:
        cond = sample.cond[:, : sample.x0.shape[1]]
        pyramids = [pyramid(picture, levels) for picture in (sample.x0_hat, sample.x0, cond)]
        values = []
        for output, target, guide in zip(*pyramids, strict=True):
            stride = grid_stride(output.shape, patches)
            kernel = draw_directions(output.shape, count, generator).to(output)
            row, column = torch.randint(0, stride, (2,), generator=generator).tolist()
            values.append(band_distance((output, target, guide), kernel, (row, column), stride))
        return torch.stack(values).mean(), {}

    return term


def colour(settings: Mapping[str, Any]) -> Term:
    """Absolute error of the means of squares of `side` pixels; its weight follows `aux["realism"]`, if it is there."""
    side, at_mean = _known("colour", {"side": 8, "at_mean": 1.0}, settings)

    def term(sample: LossSample, generator: torch.Generator | None, aux: Mapping[str, Any]) -> tuple[Tensor, Parts]:
        error = sample.x0_hat - sample.x0
        means = F.avg_pool2d(error, [min(side, length) for length in error.shape[2:]])
        return _by_realism(at_mean, aux) * means.abs().mean((1, 2, 3)), {}

    return term


def laplacian(settings: Mapping[str, Any]) -> Term:
    """Sum of the mean absolute errors of a Laplacian pyramid's bands, without the coarsest."""
    (levels,) = _known("laplacian", {"levels": 4}, settings)

    def term(sample: LossSample, generator: torch.Generator | None, aux: Mapping[str, Any]) -> tuple[Tensor, Parts]:
        *bands, _ = pyramid(sample.x0_hat - sample.x0, levels)
        errors = [band.abs().mean((1, 2, 3)) for band in bands]
        return sum(errors, sample.x0.new_zeros(len(sample.x0))), {}

    return term


def anchor(settings: Mapping[str, Any]) -> Term:
    """Squared distance to `aux["mean"]`; its weight falls to `end` as `aux["progress"]` reaches 1, and to 1 from
    `at_mean` as `aux["realism"]` (batch,) does."""
    end, at_mean = _known("anchor", {"end": 1.0, "at_mean": 100.0}, settings)

    def term(sample: LossSample, generator: torch.Generator | None, aux: Mapping[str, Any]) -> tuple[Tensor, Parts]:
        distance = (sample.x0_hat - aux["mean"]).square().mean((1, 2, 3))
        left = 0.5 * (1.0 + math.cos(math.pi * float(aux["progress"])))
        return (end + (1.0 - end) * left) * _by_realism(at_mean, aux) * distance, {"from_mean": distance}

    return term


def adversarial(settings: Mapping[str, Any]) -> Term:
    """The generator's side of the relativistic loss, by the discriminator `aux["discriminator"]`."""
    known = {"width": 32, "gamma": 0.3, "penalty_every": 4, "learning_rate": 3e-4, "augment": True}
    *_, augment = _known("adversarial", known, settings)

    def term(sample: LossSample, generator: torch.Generator | None, aux: Mapping[str, Any]) -> tuple[Tensor, Parts]:
        shown = Shown(sample.cond[:, : sample.x0.shape[1]], sample.x0_hat, sample.x0)
        if augment:
            batch, _, height, width = sample.x0.shape
            shift, hole = (
                tuple(int(torch.randint(0, most + 1, (), generator=generator)) for most in sides)
                for sides in ((2 * (height // 8), 2 * (width // 8)), (height - height // 3, width - width // 3))
            )
            contrast, brightness = torch.rand(2, batch, 1, 1, 1, generator=generator).to(sample.x0) - 0.5
            shown = changed(shown, shift, hole, 1.0 + 0.5 * contrast, 0.4 * brightness)
        return generator_loss(aux["discriminator"], shown), {}

    return term


def lpips(settings: Mapping[str, Any]) -> Term:
    """LPIPS of x0_hat and x0, weighed by the noise level."""
    file, *when, size = _known("lpips", {**_FROZEN, "size": None}, settings)
    weights = open_saved(Path(file), frozen_lpips.FORMAT, "config losses.lpips.file")

    def term(sample: LossSample, generator: torch.Generator | None, aux: Mapping[str, Any]) -> tuple[Tensor, Parts]:
        weight, x0_hat, x0, _ = _seen(sample, aux, *when)
        pair = x0_hat, x0
        if size is not None:
            pair = (F.interpolate(p, (size, size), mode="bilinear", antialias=True) for p in pair)
        return weight * frozen_lpips.lpips(weights, *pair), {}

    return term


def clip(settings: Mapping[str, Any]) -> Term:
    """Cosine distance of CLIP's embeddings, and of their directions from that of cond, weighed by the noise level."""
    file, *when, share = _known("clip", {**_FROZEN, "directional": 0.0}, settings)
    weights = open_saved(Path(file), frozen_clip.FORMAT, "config losses.clip.file")

    def term(sample: LossSample, generator: torch.Generator | None, aux: Mapping[str, Any]) -> tuple[Tensor, Parts]:
        weight, *shown = _seen(sample, aux, *when)
        found, wanted, start = (frozen_clip.clip(weights, pictures) for pictures in shown)
        cosine = 1.0 - F.cosine_similarity(found, wanted, dim=1)
        # A direction of length l counts as one of sqrt(l² + 0.01²): at 0 it would have no gradient.
        there, here = found - start, wanted - start
        lengths = ((there.square().sum(1) + 1e-4) * (here.square().sum(1) + 1e-4)).sqrt()
        direction = 1.0 - (there * here).sum(1) / lengths
        return weight * ((1.0 - share) * cosine + share * direction), {}

    return term


_FROZEN = {"file": "", "weighting": "snr", "largest_t": None}


def _seen(
    sample: LossSample, aux: Mapping[str, Any], weighting: str, largest_t: int | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """How much each picture counts, (batch,), and what a frozen network sees: x0_hat, x0, cond, as pictures.

    By "snr" it is signal² / (signal² + noise²), by "uniform" 1; above `largest_t` it is 0.
    """
    weight = torch.ones_like(sample.signal)
    if weighting == "snr":
        power = sample.signal.square(), sample.noise_level.square()
        weight = (power[0] / (power[0] + power[1])).nan_to_num(0.0)
    weight = weight.expand(len(sample.x0), 1, 1, 1)
    if largest_t is not None:
        weight = weight * (sample.t <= largest_t)[:, None, None, None]
    x0_hat = torch.where(weight > 0, sample.x0_hat, sample.x0)
    cond, decode = sample.cond[:, : sample.x0.shape[1]], aux.get("decode", lambda state: state)
    return weight[:, 0, 0, 0], decode(x0_hat), decode(sample.x0), decode(cond)


for _name, _make in (
    *(("hybrid", hybrid), ("texture", texture), ("colour", colour), ("laplacian", laplacian), ("anchor", anchor)),
    *(("adversarial", adversarial), ("lpips", lpips), ("clip", clip)),
):
    LOSSES.add(_name, _make)


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
