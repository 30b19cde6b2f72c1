"""The baseline of photo apps: affine colour changes in a grid over place and brightness, fitted to training pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np

from export.edge.metrics import LUMA
from export.edge.pictures.arrays import to_float, to_uint8
from jax_impl.data.loader import Pairs
from jax_impl.evaluation.baselines import Translate

PLACES, LEVELS = 6, 6
"""Vertices of the grid down and right, and along brightness."""
PENALTY = 0.03
"""On each squared distance of a coefficient from the change that fits all pixels, for each pixel of a vertex."""
MOST_PIXELS = 400_000
"""Training pixels that are used: each n-th where there are more."""
_LINE = 1e-6

Cell = tuple[np.ndarray, slice, slice]
"""Indices of the vertices that a cell of pixels touches, in the order of its features; its rows and columns."""


def bilateral_grid(train: Pairs) -> Translate:
    """Each pixel's colour by an affine change, interpolated in a grid over its place and its brightness.

    The grid of Gharbi et al. 2017 ("Deep bilateral learning for real-time image enhancement", equations 2 and 3), one
    for all pictures, as a lookup table is: the weights that minimise the squared error over all training pixels, with a
    penalty on the distance from one affine change for all (ridge regression, in closed form).
    """
    height, width = train.cond.shape[1:3]
    step = max(1, train.cond.size // 3 // MOST_PIXELS)
    base = _one_change(train, step)
    vertices = PLACES * PLACES * LEVELS
    gram, moment, pixels = np.zeros((4 * vertices, 4 * vertices)), np.zeros((4 * vertices, 3)), 0
    for touched, rows, columns in _cells(height, width):
        colours = _colours(train.cond[:, rows, columns].reshape(-1, 3)[::step])
        features = _features(colours, _places(rows, columns, (height, width), len(train.cond))[::step])
        wanted = to_float(train.x0[:, rows, columns].reshape(-1, 3)[::step]) - colours @ base
        gram[np.ix_(touched, touched)] += features.T @ features
        moment[touched] += features.T @ wanted
        pixels += len(features)
    weights = np.linalg.solve(gram + PENALTY * pixels / vertices * np.eye(len(gram)), moment)

    def translate(picture: np.ndarray, seed: int) -> np.ndarray:
        del seed
        made = np.empty(picture.shape)
        for touched, rows, columns in _cells(*picture.shape[:2]):
            colours = _colours(picture[rows, columns].reshape(-1, 3))
            features = _features(colours, _places(rows, columns, picture.shape[:2], 1))
            made[rows, columns] = (features @ weights[touched] + colours @ base).reshape(made[rows, columns].shape)
        return to_uint8(made)

    return translate


def _one_change(train: Pairs, step: int) -> np.ndarray:
    """The affine change of colour (4, 3) that fits all pixels."""
    colours, wanted = _colours(train.cond.reshape(-1, 3)[::step]), to_float(train.x0.reshape(-1, 3)[::step])
    return np.linalg.solve(colours.T @ colours + _LINE * len(colours) * np.eye(4), colours.T @ wanted)


def _colours(pixels: np.ndarray) -> np.ndarray:
    """Red, green, blue and 1 of each pixel: from uint8 (pixels, 3) to (pixels, 4)."""
    return np.concatenate([to_float(pixels), np.ones((len(pixels), 1), np.float32)], axis=1)


def _axis(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each pixel along a side: the vertex before it, and how far it is on the way to the next, 0 to 1."""
    at = (np.arange(size) + 0.5) / size * (PLACES - 1)
    before = np.minimum(at.astype(int), PLACES - 2)
    return before, (at - before).astype(np.float32)


def _cells(height: int, width: int) -> Iterator[Cell]:
    """The rectangles of pixels between neighbouring vertices that hold pixels."""
    down, right = (_axis(size)[0] for size in (height, width))
    vertices = np.arange(4 * PLACES * PLACES * LEVELS).reshape(PLACES, PLACES, LEVELS, 4)
    for row, column in product(np.unique(down), np.unique(right)):
        rows, columns = (slice(*np.searchsorted(each, (at, at + 1))) for each, at in ((down, row), (right, column)))
        yield vertices[row : row + 2, column : column + 2].ravel(), rows, columns


def _places(rows: slice, columns: slice, shape: Sequence[int], count: int) -> np.ndarray:
    """The weights of the four vertices around each pixel of a rectangle, of so many pictures: (pixels, 4)."""
    down, right = (_axis(size)[1][part] for size, part in zip(shape, (rows, columns), strict=True))
    down, right = (np.stack([1.0 - each, each], axis=-1) for each in (down, right))
    weights = np.einsum("ir,jc->ijrc", down, right).reshape(1, -1, 4)
    return np.broadcast_to(weights, (count, *weights.shape[1:])).reshape(-1, 4)


def _features(colours: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Colour and 1, times the weight of each vertex of the cell: (pixels, 2 · 2 · LEVELS · 4), mostly zeros."""
    level = (colours[:, :3] @ LUMA.astype(np.float32) + 1.0) / 2.0 * (LEVELS - 1)
    bright = np.maximum(0.0, 1.0 - np.abs(level[:, None] - np.arange(LEVELS, dtype=np.float32)))
    return (places[:, :, None, None] * (bright[:, :, None] * colours[:, None])[:, None]).reshape(len(colours), -1)
