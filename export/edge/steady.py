"""Frames of a film, translated without flicker: the same noise for each, and colour changes smoothed over time.

What changes a frame's colours (`export.edge.detail.change_of_colour`) follows that of the frame before:

    change = change_before + weight * (change_new - change_before)

Where the scene stands still, weight = 1 - exp(-seconds since then / smoothing). It rises to 1 where the small picture
that the network sees has changed by more than noise: a thing that moves takes its new colours at once, and so does a
new scene.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from export.edge.detail import change_of_colour, mean_over_windows
from export.edge.model.artifact import Artifact
from export.edge.pictures.arrays import to_float, without_bars, working
from export.edge.recolour import apply
from export.edge.translate import Options, translate

STILL, MOVED = 0.03, 0.12
"""Change of the small picture, of values in [-1, 1], that may be noise; and from which on nothing is smoothed."""
_RADIUS = 2
"""Windows over which that change is averaged reach this many pixels to each side."""


@dataclass(frozen=True)
class Seen:
    """What is kept of a frame for the next one."""

    guide: np.ndarray
    """The small picture that the network saw, floats in [-1, 1], (h, w, 3)."""
    change: np.ndarray
    """How its colours changed, float32 (h, w, 4, 3)."""
    time: float
    """Seconds."""


@dataclass(frozen=True)
class Steady:
    """How to translate a film."""

    steps: int | None = None
    """Of the sampler, for each frame; None is what the model recommends."""
    seed: int = 0
    realism: float | None = None
    """For a model with a slider, see `export.edge.translate.Options`."""
    smoothing: float = 0.4
    """Seconds over which colours are smoothed where nothing moves; 0 for each frame by itself."""


AS_RECOMMENDED = Steady()


def translate_frame(
    model: Artifact, picture: np.ndarray, time: float, before: Seen | None = None, how: Steady = AS_RECOMMENDED
) -> tuple[np.ndarray, Seen]:
    """The translation of a frame, uint8 (height, width, 3), shown at `time`, seconds; `before`: of the frame before.

    Returns uint8 (height, width, 3) and what the next frame needs. Frames of one film have one size. Raises UserError
    as `export.edge.translate.translate` does.
    """
    height, width = picture.shape[:2]
    inner = working(picture, model.size, model.fit, model.size_multiple)
    made = translate(model, inner, Options(how.steps, realism=how.realism), seed=how.seed)
    guide, result = (to_float(without_bars(part, height, width, model.fit)) for part in (inner, made))
    change = change_of_colour(guide, result)
    if before is not None and how.smoothing > 0.0:
        share = 1.0 - math.exp(-max(0.0, time - before.time) / how.smoothing)
        weight = np.maximum(np.float32(share), _moved(guide, before.guide))[..., None, None]
        change = before.change + weight * (change - before.change)
    return apply(change, picture), Seen(guide, change, time)


def _moved(guide: np.ndarray, before: np.ndarray) -> np.ndarray:
    """From 0, where a small picture is as before, to 1, float32 (h, w)."""
    difference = mean_over_windows(np.abs(guide - before).mean(axis=-1), _RADIUS)
    return np.clip((difference - STILL) / (MOVED - STILL), 0.0, 1.0)
