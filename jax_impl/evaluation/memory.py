"""Has a model learned its training targets by heart? How near its pictures come to them, and to the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

COPIED = 0.5
"""A picture counts as copied when it is this much nearer to a training target than its truth is to any, and than it is
to its truth."""
_BLOCK = 128
"""Training targets compared at once."""


@dataclass(frozen=True)
class Nearness:
    """Distances are root mean squares over pixels and channels, in levels of 255."""

    ratio: np.ndarray
    """Distance to the nearest training target over that to the truth, (pictures,), mean over draws."""
    copied: int
    """Drawn pictures that look learned by heart."""
    drawn: int
    """All drawn pictures."""


def nearness(drawn: np.ndarray, truth: np.ndarray, targets: np.ndarray) -> Nearness:
    """Compare uint8 drawn (draws, pictures, height, width, 3), truth (pictures, …) and training targets (many, …)."""
    draws, count = drawn.shape[:2]
    to_train = _to_nearest(drawn.reshape(-1, *drawn.shape[2:]), targets).reshape(draws, count)
    to_truth = np.stack([_rmse(pictures, truth) for pictures in drawn])
    expected = _to_nearest(truth, targets)
    copied = to_train < COPIED * np.minimum(to_truth, expected)
    # Half a level keeps a perfect picture's ratio finite.
    ratio = (to_train + 0.5) / (to_truth + 0.5)
    return Nearness(ratio.mean(axis=0), int(copied.sum()), draws * count)


def nearest_of(pictures: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Index of the target that is nearest to each picture, by the root mean square over pixels, int (pictures,)."""
    ours = _flat(pictures)
    squares = np.einsum("ij,ij->i", ours, ours)
    best = np.zeros(len(ours), np.int64)
    least = np.full(len(ours), np.inf)
    for start in range(0, len(targets), _BLOCK):
        theirs = _flat(targets[start : start + _BLOCK])
        apart = squares[:, None] + np.einsum("ij,ij->i", theirs, theirs) - 2.0 * (ours @ theirs.T)
        nearest = apart.argmin(axis=1)
        value = apart[np.arange(len(ours)), nearest]
        closer = value < least
        best[closer], least[closer] = nearest[closer] + start, value[closer]
    return best


def _to_nearest(pictures: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Distance of each picture to the nearest target, (pictures,)."""
    # The product of matrices finds the nearest one; its distance is computed again, without the cancellation.
    return _rmse(pictures, targets[nearest_of(pictures, targets)])


def _rmse(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    error = np.array(
        [
            np.mean((p.astype(np.float32) - q.astype(np.float32)) ** 2, dtype=np.float64)
            for p, q in zip(a, b, strict=True)
        ]
    )
    return np.sqrt(error)


def _flat(pictures: np.ndarray) -> np.ndarray:
    """float32 (pictures, numbers), centred on mid-grey."""
    return pictures.reshape(len(pictures), -1).astype(np.float32) - np.float32(127.5)
