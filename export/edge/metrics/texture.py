"""How near the textures of one set of pictures are to those of another, at every scale: sliced Wasserstein distance.

Karras, Aila, Laine, Lehtinen 2018 ("Progressive growing of GANs"), section 5: patches of 7 x 7
pixels from each level of a Laplacian pyramid (Burt, Adelson 1983), normalised channel by
channel, compared by the sliced Wasserstein distance (Rabin, Peyré, Delon, Bernot 2011). Here
three things differ, each for a reason:

- Both sets are normalised by the targets' mean and deviation. Normalised each by its own,
  a set that lost contrast, and so any blurred one, would be forgiven.
- Patches lie at the same places in both sets, so that equal sets are at distance 0.
- A projection's Wasserstein distance is the integral of |F - G| between the two cumulative
  distributions (equal to the mean difference of sorted values), taken as a sum over fixed
  bins. Distributions of sets are means of distributions of pictures, so any subset or
  resample of the pictures costs one matrix product instead of sorting again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from export.edge.errors import UserError

PATCH = 7
"""Side of a patch, pixels."""
SMALLEST_LEVEL = 16
"""The pyramid ends before its side would be shorter than this, pixels."""
SCALE = 1000.0
"""Distances are given times this, as in the paper."""
_BINS = 96
_REACH = 5.0
"""The bins' edges are at sinh(u), u evenly spaced in ± this: fine around the middle, out to ± 74 deviations."""
_TAPS = np.array([1.0, 4.0, 6.0, 4.0, 1.0], np.float32) / 16.0


@dataclass(frozen=True)
class Level:
    """One level of the pyramid: where patches lie, and how what they hold becomes numbers."""

    side: int
    """Shorter side, pixels."""
    places: np.ndarray
    """Upper left corners of the patches, int (pictures, patches, 2)."""
    middle: np.ndarray
    """float32 (channels,): the targets' mean of each channel."""
    scale: np.ndarray
    """float32 (channels,): the targets' deviation of each channel."""
    directions: np.ndarray
    """Unit vectors, float32 (49 channels, directions)."""
    edges: np.ndarray
    """float64 (bins,): where the cumulative distributions are read off."""


@dataclass(frozen=True)
class Yardstick:
    """What sets are measured with: fixed by the targets and a seed, the same for every method."""

    levels: tuple[Level, ...]


def make_yardstick(targets: np.ndarray, seed: int = 0, patches: int = 64, directions: int = 128) -> Yardstick:
    """The yardstick for sets whose targets are these, uint8 (pictures, height, width, channels).

    With six channels, input and target, it measures whether the texture belongs to its input (joint distance).
    Raises UserError where a side is shorter than a patch.
    """
    if min(targets.shape[1:3]) < PATCH:
        raise UserError(
            f"patches of {PATCH} x {PATCH} pixels do not fit into pictures of {targets.shape[2]} x {targets.shape[1]}; "
            "score larger ones"
        )
    levels = []
    for index, pictures in enumerate(_pyramid(targets)):
        rng = np.random.default_rng([seed, index])
        count, height, width = pictures.shape[:3]
        corners = rng.random((count, patches, 2)) * (height - PATCH + 1, width - PATCH + 1)
        places = corners.astype(np.int64)
        held = _patches(pictures, places)
        scale = held.std(axis=(0, 1, 2, 3))
        axes = rng.standard_normal((PATCH * PATCH * pictures.shape[3], directions))
        levels.append(
            Level(
                side=min(height, width),
                places=places,
                middle=held.mean(axis=(0, 1, 2, 3)),
                scale=np.maximum(scale, 1.0 / 255.0),
                directions=(axes / np.linalg.norm(axes, axis=0)).astype(np.float32),
                edges=np.sinh(np.linspace(-_REACH, _REACH, _BINS)),
            )
        )
    return Yardstick(tuple(levels))


def cumulative(yardstick: Yardstick, pictures: np.ndarray) -> list[np.ndarray]:
    """Each picture's cumulative distribution along every direction, for each level, finest first.

    pictures: uint8 (pictures, height, width, channels), as many and as large as the yardstick's
    targets. Returns float32 (pictures, directions, bins) in [0, 1] for each level. The
    distribution of a set is the mean of its pictures'.
    """
    return [_distribution(level, held) for level, held in zip(yardstick.levels, _pyramid(pictures), strict=True)]


def distances(yardstick: Yardstick, gaps: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Sliced Wasserstein distances times 1000, float64 (sets, levels), of weighted sets of pictures.

    gaps: for each level the difference of two results of `cumulative`, generated less
    target. weights: (sets, pictures), rows adding up to 1: uniform for the whole set, 1/n
    on some pictures for a subset, counts / n for a resample.
    """
    found = []
    for level, gap in zip(yardstick.levels, gaps, strict=True):
        edges = level.edges
        widths = np.gradient(edges).astype(np.float32)
        directions = gap.shape[1]
        total = np.zeros(len(weights))
        # By blocks of directions: all of them at once would not fit in memory for many resamples.
        for start in range(0, directions, 16):
            block = gap[:, start : start + 16]
            apart = np.abs(weights.astype(np.float32) @ block.reshape(len(block), -1)).reshape(len(weights), -1, _BINS)
            total += (apart @ widths).sum(axis=1)
        found.append(SCALE * total / directions)
    return np.stack(found, axis=1)


def _distribution(level: Level, pictures: np.ndarray) -> np.ndarray:
    held = (_patches(pictures, level.places) - level.middle) / level.scale
    count, patches = held.shape[:2]
    values = held.reshape(count, patches, -1) @ level.directions
    position = np.arcsinh(values) * ((_BINS - 1) / (2.0 * _REACH)) + (_BINS - 1) / 2.0
    bins = np.clip(np.ceil(position), 0, _BINS).astype(np.int64)
    directions = values.shape[2]
    row = np.arange(count)[:, None, None] * directions + np.arange(directions)
    size = count * directions * (_BINS + 1)
    counts = np.bincount((row * (_BINS + 1) + bins).ravel(), minlength=size).reshape(count, directions, _BINS + 1)
    return (np.cumsum(counts, axis=2)[:, :, :_BINS] / patches).astype(np.float32)


def _patches(pictures: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(pictures, height, width, channels) and corners (pictures, patches, 2) to (pictures, patches, 7, 7, channels)."""
    reach = np.arange(PATCH)
    rows = places[..., 0, None, None] + reach[:, None]
    columns = places[..., 1, None, None] + reach
    return pictures[np.arange(len(pictures))[:, None, None, None], rows, columns]


def _pyramid(pictures: np.ndarray) -> list[np.ndarray]:
    """Levels of the Laplacian pyramid, finest first, float32 (pictures, height, width, channels); 1 is the range."""
    rest = pictures.astype(np.float32) / np.float32(255.0)
    levels = []
    while min(rest.shape[1:3]) >= 2 * SMALLEST_LEVEL:
        coarse = _blur(rest)[:, ::2, ::2]
        spread = np.zeros_like(rest)
        spread[:, ::2, ::2] = coarse
        levels.append(rest - 4.0 * _blur(spread))
        rest = coarse
    return [*levels, rest]


def _blur(x: np.ndarray) -> np.ndarray:
    """The 5 x 5 kernel of Burt and Adelson, mirrored at the borders, on (pictures, height, width, channels)."""
    for axis in (1, 2):
        pad = [(0, 0)] * 4
        pad[axis] = (2, 2)
        wide = np.pad(x, pad, mode="reflect")
        size = x.shape[axis]
        parts = (w * wide.take(range(i, i + size), axis=axis) for i, w in enumerate(_TAPS))
        x = sum(parts, np.zeros_like(x))
    return x
