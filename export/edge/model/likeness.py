"""Whether a picture is like those that a model was trained on: from averages of its training inputs, in numpy alone.

A picture becomes 80 numbers (`features`). Those of training are described by probabilistic principal components
(Tipping, Bishop 1999, "Probabilistic principal component analysis"). As in process monitoring (Jackson, Mudholkar 1979,
"Control procedures for residuals"), a picture is unlike them where it lies too far out along the components, or too far
from the space that they span. Each has its own limit: one sum of both would let what many numbers share pass, such as
the grain of noise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from export.edge.disk.reading import parse_json
from export.edge.errors import UserError

GRID = 4
"""Blocks along each side of the central square."""
FEATURES = 5 * GRID * GRID
FEWEST = 10
"""Different pictures below which nothing is said of likeness."""
MOST_COMPONENTS = 12
FOLDS = 5
QUANTILE = 0.99
MARGIN = 1.05
"""The limit is this quantile of the distances of pictures left out of the fit, times this margin."""
MOST_NAMED = 10
"""Photos of a folder that are named."""
_FLOOR = 1.0 / 64.0
"""Added to a spread of brightness, of 1, before its logarithm."""
_TOLERANCE = np.repeat([0.04, 0.15], [3 * GRID * GRID, 2 * GRID * GRID])
"""Deviation that a feature may always have: that of a fixed camera is nearly none."""
_LEAST = 0.02
"""Least variance of a direction, in squared deviations: pictures that hardly differ must not make a narrow gate."""
_LARGEST = 1e6


@dataclass(frozen=True, eq=False)
class Likeness:
    """What the training inputs of a model look like."""

    mean: np.ndarray
    """Of the features, (FEATURES,)."""
    scale: np.ndarray
    """Deviation of each, (FEATURES,)."""
    components: np.ndarray
    """Directions of the most variance, in deviations, (1 to MOST_COMPONENTS, FEATURES)."""
    reach: np.ndarray
    """How far along each a picture may lie, where it lies at 0 along the others, (components,)."""
    rest: float
    """How far from the space of the components a picture may lie."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Likeness) and self.as_entry() == other.as_entry()

    def distance(self, picture: np.ndarray) -> float:
        """How far a picture is from those of training: up to 1 is like them, more is unlike.

        `picture`: uint8 (height, width, 3) of the model's own size; its central square counts.
        """
        return float(max(self.parts(features(picture)[None])[0]))

    def parts(self, found: np.ndarray) -> np.ndarray:
        """Features (n, FEATURES) to distances along the components and from their space, (n, 2), as shares."""
        away = (found - self.mean) / self.scale
        along = away @ self.components.T
        left = away - along @ self.components
        return np.stack([np.linalg.norm(along / self.reach, axis=1), np.linalg.norm(left, axis=1) / self.rest], axis=1)

    def as_entry(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in asdict(self).items()
        }

    def to_json(self) -> str:
        """The entry of the metadata."""
        return json.dumps(self.as_entry(), separators=(",", ":"))


def features(picture: np.ndarray) -> np.ndarray:
    """What likeness is judged by, float64 (FEATURES,), of the central square of a picture, uint8 (height, width, 3).

    For 4 x 4 blocks, row by row: the means of brightness, red less blue, and magenta less green; then the logarithms
    of the spread of brightness in each block; then those of its mean change from one pixel to the next.
    """
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    red, green, blue = np.moveaxis(picture[top : top + side, left : left + side].astype(np.float64) / 255.0, -1, 0)
    light = (red + green + blue) / 3.0
    change = np.abs(np.diff(light, axis=0, append=light[-1:])) + np.abs(np.diff(light, axis=1, append=light[:, -1:]))
    maps = np.stack([light, red - blue, (red + blue) / 2.0 - green, light**2, change], axis=-1)
    edges = np.arange(GRID + 1) * side // GRID
    counts = np.maximum(np.diff(edges), 1)
    sums = np.add.reduceat(np.add.reduceat(maps, edges[:-1], axis=0), edges[:-1], axis=1)
    means = sums / (counts[:, None] * counts)[..., None]
    spread = np.sqrt(np.maximum(means[..., 3] - means[..., 0] ** 2, 0.0))
    logs = (np.log(values + _FLOOR).ravel() for values in (spread, means[..., 4]))
    return np.concatenate([means[..., :3].ravel(), *logs])


def fit(found: np.ndarray) -> Likeness | None:
    """The likeness of pictures with these features, (n, FEATURES); None for fewer than FEWEST different ones.

    Limits come from cross-validation: each picture is judged by a fit on four fifths of the others.
    """
    _, first = np.unique(found, axis=0, return_index=True)
    found = found[np.sort(first)]
    count = len(found)
    if count < FEWEST:
        return None
    apart = np.empty((count, 2))
    for fold in range(FOLDS):
        out = np.arange(count) % FOLDS == fold
        apart[out] = _unscaled(found[~out]).parts(found[out])
    along, left = np.maximum(MARGIN * np.quantile(apart, QUANTILE, axis=0), 1.0)
    whole = _unscaled(found)
    return Likeness(
        whole.mean.round(4),
        _digits(whole.scale),
        whole.components.round(3),
        _digits(along * whole.reach),
        float(_digits(left * whole.rest)),
    )


def _unscaled(found: np.ndarray) -> Likeness:
    """Where the reach is the root mean square of pictures of the fit."""
    mean = found.mean(axis=0)
    scale = np.sqrt(found.var(axis=0) + _TOLERANCE**2)
    _, singular, directions = np.linalg.svd((found - mean) / scale, full_matrices=False)
    variances, kept = singular**2 / len(found), min(MOST_COMPONENTS, len(found) // 4)
    rest = max(float(variances[kept:].sum()), _LEAST * FEATURES)
    reach = np.sqrt(kept * np.maximum(variances[:kept], _LEAST))
    return Likeness(mean, scale, directions[:kept], reach, float(np.sqrt(rest)))


def _digits(values: np.ndarray | float) -> np.ndarray:
    """Rounded to four digits."""
    return np.vectorize(lambda value: float(f"{value:.4g}"))(np.asarray(values, np.float64))


def describe(what: str, distance: float | None) -> str | None:
    """One line for a person, on a picture called `what`; None where it is like those of training, or nobody knows."""
    if distance is None or distance <= 1.0:
        return None
    return (
        f"{what} is unlike the pictures that this model was trained on ({distance:.1f} times the limit): expect wrong "
        "colours"
    )


def describe_all(distances: Mapping[str, float | None]) -> str | None:
    """The same for a folder of photos, by their names: the furthest are named first."""
    away = {name: distance for name, distance in distances.items() if distance is not None and distance > 1.0}
    if not away:
        return None
    unlike = sorted(away, key=lambda name: -away[name])
    named = ", ".join(f"{name} ({away[name]:.1f})" for name in unlike[:MOST_NAMED])
    more = f" and {len(unlike) - MOST_NAMED} more" if len(unlike) > MOST_NAMED else ""
    return (
        f"{len(unlike)} of {len(distances)} photos are unlike the pictures that this model was trained on (times the "
        f"limit): {named}{more}; expect wrong colours there"
    )


def read_likeness(text: str, where: str) -> Likeness:
    """The likeness in an entry of metadata. Raises UserError, which begins with `where`, for an entry that has none."""
    try:
        held: Any = parse_json(text)
        mean, scale, components, reach, rest = (
            np.asarray(held[name], np.float64) for name in ("mean", "scale", "components", "reach", "rest")
        )
        kept = len(reach) if reach.ndim == 1 else 0
        shapes = mean.shape == scale.shape == (FEATURES,) and components.shape == (kept, FEATURES) and rest.shape == ()
        if not (shapes and 1 <= kept <= MOST_COMPONENTS and len(held) == 5):
            raise ValueError("its lists have other lengths than they should")
        values = np.concatenate([mean, scale, components.ravel(), reach, rest[None]])
        if not (np.abs(values) <= _LARGEST).all() or min(scale.min(), reach.min(), rest) <= 1.0 / _LARGEST:
            raise ValueError("its numbers make no sense")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{where} does not describe pictures ({error}); export it again") from None
    return Likeness(mean, scale, components, reach, float(rest))
