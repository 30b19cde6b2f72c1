"""Figures that compare a set of drawn pictures with its targets as a whole, for any weights of the pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from export.edge.metrics import cumulative, distances, make_yardstick
from jax_impl.data.loader import Pairs
from jax_impl.evaluation import naturalness, spectrum
from jax_impl.evaluation.held_out import HeldOut

SWD, JOINT, SPECTRUM, NATURALNESS = "swd", "joint_swd", "spectrum", "naturalness"
Compared = Callable[[np.ndarray], np.ndarray]
"""Weights of the pictures, float64 (sets, pictures), rows adding up to 1, to the parts of the figure, (sets, parts)."""


@dataclass(frozen=True)
class SetMetric:
    """A figure for a set of drawn pictures; less is better."""

    title: str
    digits: int
    parts: tuple[str, ...]
    """What it is made of: levels of a pyramid, octaves."""
    compare: Callable[[np.ndarray], Compared]
    """Of drawn pictures, uint8 (draws, pictures, height, width, 3)."""
    total: Callable[[np.ndarray], np.ndarray] = lambda parts: parts.mean(axis=1)
    """(sets, parts) to the figure, (sets,)."""


def set_metrics(held_out: HeldOut) -> dict[str, SetMetric]:
    """By their keys in evaluation.json. Without training pairs there is no `naturalness`, which is fitted on them."""
    pairs = held_out.pairs
    found = {SWD: texture(pairs), JOINT: joint_texture(pairs), SPECTRUM: power_spectrum(pairs)}
    return found if held_out.train is None else found | {NATURALNESS: natural(held_out.train)}


def texture(pairs: Pairs) -> SetMetric:
    """Sliced Wasserstein distance of patches."""
    return _wasserstein("SWD × 10³", pairs.x0, lambda drawn: drawn)


def joint_texture(pairs: Pairs) -> SetMetric:
    """The same of patches of input and output together: right texture in the wrong place counts too."""
    return _wasserstein(
        "joint SWD × 10³",
        np.concatenate([pairs.cond, pairs.x0], axis=-1),
        lambda drawn: np.concatenate([pairs.cond, drawn], axis=-1),
    )


def _wasserstein(title: str, targets: np.ndarray, seen: Callable[[np.ndarray], np.ndarray]) -> SetMetric:
    yardstick = make_yardstick(targets)
    truth = cumulative(yardstick, targets)

    def compare(drawn: np.ndarray) -> Compared:
        of_draws = [cumulative(yardstick, seen(pictures)) for pictures in drawn]
        gaps = [np.mean(level, axis=0) - true for level, true in zip(zip(*of_draws, strict=True), truth, strict=True)]
        return lambda weights: distances(yardstick, gaps, weights)

    return SetMetric(title, 1, tuple(str(level.side) for level in yardstick.levels), compare)


def power_spectrum(pairs: Pairs) -> SetMetric:
    """Mean absolute difference of the power spectra by octave, dB; the parts are signed."""
    truth = spectrum.power(pairs.x0)

    def compare(drawn: np.ndarray) -> Compared:
        ours = np.mean([spectrum.power(pictures) for pictures in drawn], axis=0)
        return lambda weights: spectrum.decibels(weights @ ours, weights @ truth)

    titles = tuple(spectrum.titles(*pairs.x0.shape[1:3]))
    return SetMetric("spectrum, dB", 2, titles, compare, lambda parts: np.abs(parts).mean(axis=1))


def natural(train: Pairs) -> SetMetric:
    """NIQE, fitted on the training targets."""
    model = naturalness.statistics(train.x0)

    def compare(drawn: np.ndarray) -> Compared:
        each = [naturalness.statistics(pictures) for pictures in drawn]
        mean, products = (np.mean([getattr(one, name) for one in each], axis=0) for name in ("mean", "products"))
        ours = naturalness.Statistics(mean, products)
        return lambda weights: naturalness.distance(model, ours, weights)[:, None]

    return SetMetric("NIQE of the training targets", 2, ("whole",), compare)
