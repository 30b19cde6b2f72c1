"""Intervals by resampling pictures, or whole scenes where there are enough of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 1000
MIN_SCENES_TO_RESAMPLE = 8
"""With fewer scenes than this, resampling them says little: pictures are resampled, and wins are counted by scene."""
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A value of a set of pictures, the same value of each of its resamples, and an interval."""

    value: float
    resampled: np.ndarray
    """float64 (resamples,), centred on `value`."""

    @property
    def interval(self) -> tuple[float, float]:
        """Bounds between which 95 % of the resampled values lie."""
        tail = 0.5 * (1.0 - _CONFIDENCE)
        low, high = np.quantile(self.resampled, [tail, 1.0 - tail])
        return float(low), float(high)

    def less(self, other: Estimate) -> Estimate:
        """The difference to another estimate made from the same resamples."""
        return Estimate(self.value - other.value, self.resampled - other.resampled)

    def to_json(self) -> dict[str, float]:
        """{mean, low, high}"""
        low, high = self.interval
        return {"mean": self.value, "low": low, "high": high}


def centred(value: float, resampled: np.ndarray) -> Estimate:
    """An estimate whose resampled values are moved to lie around `value`.

    A distance between distributions grows when pictures are drawn twice; without the
    move, the interval would lie beside the value.
    """
    return Estimate(value, resampled - resampled.mean() + value)


def resampling(scenes: Sequence[str], seed: int = 0) -> np.ndarray:
    """Weights of each picture in each resample, float64 (RESAMPLES, pictures), rows adding up to 1 (Efron 1979).

    scenes: one label per picture. Whole scenes are drawn with replacement where there are
    at least MIN_SCENES_TO_RESAMPLE of them, else single pictures.
    """
    rng = np.random.default_rng(seed)
    labels, scene = np.unique(np.asarray(scenes), return_inverse=True)
    units = len(labels) if len(labels) >= MIN_SCENES_TO_RESAMPLE else len(scenes)
    of_unit = scene if units == len(labels) else np.arange(len(scenes))
    counts = rng.multinomial(units, np.full(units, 1.0 / units), RESAMPLES).astype(np.float64)[:, of_unit]
    return counts / counts.sum(axis=1, keepdims=True)


def by_scene(scenes: Sequence[str]) -> np.ndarray:
    """Weights that take the mean within each scene, float64 (scenes, pictures), scenes in order of their names."""
    labels, scene = np.unique(np.asarray(scenes), return_inverse=True)
    members = scene == np.arange(len(labels))[:, None]
    return members / members.sum(axis=1, keepdims=True)
