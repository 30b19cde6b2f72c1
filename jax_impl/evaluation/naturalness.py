"""How far the local statistics of drawn pictures are from those of the training targets: NIQE, fitted on them.

Mittal, Soundararajan, Bovik 2013 ("Making a completely blind image quality analyzer"). It compares no picture with its
truth; grain, ringing and lattices change the statistics that it reads. Two things differ from the paper: the model is
fitted on the training targets instead of on a hundred photographs, with all their blocks instead of the sharpest ones,
and blocks are half a picture wide where that is less than the paper's 96 pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from export.edge.metrics import LUMA
from jax_impl.evaluation.smoothing import gaussian_blur

FEATURES = 36
"""Of a block: 18 at each of two scales."""
BLOCK = 96
"""Side of a block at most, pixels."""
_SIGMA = 7.0 / 6.0
_SHAPES = np.arange(0.2, 10.0, 0.001)
"""The shapes that a fit chooses from, as in the authors' program."""
_LOG_GAMMA = {k: np.array([math.lgamma(k / shape) for shape in _SHAPES]) for k in (1, 2, 3)}
_RATIO = np.exp(2.0 * _LOG_GAMMA[2] - _LOG_GAMMA[1] - _LOG_GAMMA[3])
"""(E|x|)² / E x² of each shape; it grows with the shape."""
_SHRINKAGE = 1e-3
"""Share of the mean variance that is added to each, so that few blocks can be compared."""
_TINY = 1e-9


@dataclass(frozen=True)
class Statistics:
    """Of the blocks of pictures."""

    mean: np.ndarray
    """float64 (pictures, 36)"""
    products: np.ndarray
    """Means of outer products, float64 (pictures, 36, 36)."""


def statistics(pictures: np.ndarray) -> Statistics:
    """Of the blocks of each of uint8 (pictures, height, width, 3)."""
    found = block_features(pictures)
    return Statistics(found.mean(axis=1), np.einsum("pbi,pbj->pij", found, found) / found.shape[1])


def distance(model: Statistics, drawn: Statistics, weights: np.ndarray) -> np.ndarray:
    """NIQE of weighted sets of drawn pictures, (sets,): equation 10, between the Gaussians of two sets of blocks.

    weights: (sets, pictures), rows adding up to 1. `model` counts with all of its pictures alike.
    """
    middle, spread = _gaussian(model, np.full((1, len(model.mean)), 1.0 / len(model.mean)))
    mean, covariance = _gaussian(drawn, weights)
    both = 0.5 * (spread + covariance)
    variance = np.trace(both, axis1=1, axis2=2) / FEATURES
    both = both + (_SHRINKAGE * variance + _TINY)[:, None, None] * np.eye(FEATURES)
    apart = mean - middle
    solved = np.linalg.solve(both, apart[..., None])[..., 0]
    return np.sqrt(np.sum(apart * solved, axis=1))


def block_features(pictures: np.ndarray) -> np.ndarray:
    """uint8 (pictures, height, width, 3) to float64 (pictures, blocks, 36)."""
    luma = (pictures.astype(np.float32) @ LUMA.astype(np.float32))[..., None]
    side = min(BLOCK, min(pictures.shape[1:3]) // 2)
    half = gaussian_blur(luma, 1.0)[:, ::2, ::2]
    return np.concatenate([_of_scale(luma, side), _of_scale(half, side // 2, _counts(luma, side))], axis=2)


def _of_scale(luma: np.ndarray, side: int, counts: tuple[int, int] | None = None) -> np.ndarray:
    """(pictures, height, width, 1) to float64 (pictures, blocks, 18)."""
    field = _normalised(luma)[..., 0].astype(np.float64)
    rows, columns = _counts(luma, side) if counts is None else counts
    found = []
    for row in range(rows):
        for column in range(columns):
            block = field[:, row * side : (row + 1) * side, column * side : (column + 1) * side]
            found.append(np.stack(list(_fits(block)), axis=1))
    return np.stack(found, axis=1)


def _counts(luma: np.ndarray, side: int) -> tuple[int, int]:
    return luma.shape[1] // side, luma.shape[2] // side


def _normalised(luma: np.ndarray) -> np.ndarray:
    """Less the local mean, divided by the local deviation plus one level (equation 1)."""
    mean = gaussian_blur(luma, _SIGMA)
    variance = gaussian_blur(luma * luma, _SIGMA) - mean * mean
    return (luma - mean) / (np.sqrt(np.maximum(variance, 0.0)) + 1.0)


def _fits(block: np.ndarray) -> Iterator[np.ndarray]:
    """The 18 features of blocks (pictures, side, side), each (pictures,)."""
    shape, left, right, _ = asymmetric_gaussian(block)
    yield from (shape, 0.5 * (left + right))
    for rows, columns in ((0, 1), (1, 0), (1, 1), (1, -1)):
        product = block * np.roll(block, (-rows, -columns), axis=(1, 2))
        shape, left, right, mean = asymmetric_gaussian(product)
        yield from (shape, mean, left, right)


def asymmetric_gaussian(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Fit asymmetric generalised Gaussians to (sets, …) by moments: shape, left and right scale, mean, each (sets,).

    Lasmar, Stitou, Berthoumieu 2009; equations 4 to 8 of NIQE's paper.
    """
    flat = values.reshape(len(values), -1)
    left, right = (
        np.sqrt(_mean_of(flat * flat, flat < 0.0) + _TINY),
        np.sqrt(_mean_of(flat * flat, flat > 0.0) + _TINY),
    )
    skew = left / right
    ratio = (np.abs(flat).mean(axis=1) ** 2 + _TINY) / ((flat * flat).mean(axis=1) + _TINY)
    wanted = ratio * (skew**3 + 1.0) * (skew + 1.0) / (skew**2 + 1.0) ** 2
    nearest = np.clip(np.searchsorted(_RATIO, wanted), 0, len(_SHAPES) - 1)
    scale = np.exp(0.5 * (_LOG_GAMMA[1] - _LOG_GAMMA[3]))[nearest]
    left, right = left * scale, right * scale
    mean = (right - left) * np.exp(_LOG_GAMMA[2] - _LOG_GAMMA[1])[nearest]
    return _SHAPES[nearest], left, right, mean


def _mean_of(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    return np.sum(values * where, axis=1) / np.maximum(where.sum(axis=1), 1)


def _gaussian(of: Statistics, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (sets, 36) and covariance (sets, 36, 36) of weighted sets of pictures."""
    mean = weights @ of.mean
    products = np.tensordot(weights, of.products, axes=1)
    return mean, products - mean[:, :, None] * mean[:, None, :]
