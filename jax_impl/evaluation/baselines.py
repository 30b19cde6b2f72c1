"""What any model has to beat: four translations that take no network, each learned from the training pairs alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations_with_replacement

import numpy as np

from export.edge.metrics.color import from_lab, to_lab
from export.edge.pictures.arrays import to_float, to_uint8
from jax_impl.data.loader import Pairs

Translate = Callable[[np.ndarray, int], np.ndarray]
"""(picture, seed) to a picture of the same size, both uint8 (height, width, 3)."""
Draw = Callable[[np.ndarray, Sequence[int]], np.ndarray]
"""(pictures, one seed each) to pictures of the same sizes, both uint8 (pictures, height, width, 3)."""
RIDGE = 1e-6
"""Penalty on each squared coefficient, for each pixel; features lie in [-1, 1]."""
DEGREE = 2
"""Highest total degree of a monomial of red, green, blue, down and right."""


def copy_input(picture: np.ndarray, seed: int) -> np.ndarray:
    """The baseline that changes nothing."""
    del seed
    return picture


def mean_target(train: Pairs) -> Translate:
    """The mean of all training targets, whatever the input."""
    mean = np.floor(train.x0.mean(axis=0) + 0.5).astype(np.uint8)
    return lambda picture, seed: mean


def color_transfer(train: Pairs) -> Translate:
    """Every input is given the colour statistics that a training target has on average.

    Reinhard, Ashikhmin, Gooch, Shirley 2001 ("Color transfer between images"), equations 10
    and 11, in CIELAB instead of their lαβ: each channel less its mean, times the ratio of
    the deviations, plus the new mean. The target's mean and deviation are the averages of
    those of all training targets; the input's are its own.
    """
    statistics = np.mean([_statistics(to_lab(picture)) for picture in train.x0], axis=0)

    def translate(picture: np.ndarray, seed: int) -> np.ndarray:
        del seed
        lab = to_lab(picture)
        mean, deviation = _statistics(lab)
        # A flat channel has no deviation to scale, and stays flat.
        return from_lab((lab - mean) / np.maximum(deviation, 1e-6) * statistics[1] + statistics[0])

    return translate


def pixel_ridge(train: Pairs) -> Translate:
    """Each pixel's colour from its old colour and its place: ridge regression over all training pixels.

    Features are all monomials up to degree 2 of red, green, blue and the two coordinates,
    each in [-1, 1]; the weights are (F'F + λ n I)⁻¹ F'y, in closed form (Hoerl, Kennard 1970).
    """
    height, width = train.cond.shape[1:3]
    places = _places(height, width)
    gram, moment = np.zeros((1, 1)), np.zeros((1, 3))
    for cond, x0 in zip(train.cond, train.x0, strict=True):
        features = _features(cond, places)
        gram = gram + features.T @ features
        moment = moment + features.T @ to_float(x0).reshape(-1, 3).astype(np.float64)
    pixels = train.cond.size // 3
    weights = np.linalg.solve(gram + RIDGE * pixels * np.eye(len(gram)), moment)

    def translate(picture: np.ndarray, seed: int) -> np.ndarray:
        del seed
        return to_uint8((_features(picture, _places(*picture.shape[:2])) @ weights).reshape(picture.shape))

    return translate


def _statistics(lab: np.ndarray) -> np.ndarray:
    """Mean and deviation of each channel of (height, width, 3): (2, 3)."""
    return np.stack([lab.mean(axis=(0, 1)), lab.std(axis=(0, 1))])


def _places(height: int, width: int) -> np.ndarray:
    """The centre of each pixel, down and right, each in [-1, 1]: float64 (height · width, 2)."""
    down, right = ((2.0 * np.arange(size) + 1.0) / size - 1.0 for size in (height, width))
    return np.stack(np.meshgrid(down, right, indexing="ij"), axis=-1).reshape(-1, 2)


def _features(picture: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(height · width, 21): all monomials up to DEGREE of colour and place, the constant included."""
    variables = np.concatenate([np.ones((len(places), 1)), to_float(picture).reshape(-1, 3), places], axis=1)
    pairs = combinations_with_replacement(range(variables.shape[1]), DEGREE)
    return np.stack([variables[:, i] * variables[:, j] for i, j in pairs], axis=1)
