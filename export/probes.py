"""Pictures to try a model with: those of a folder, or painted ones that are the same everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from export.edge.errors import UserError
from export.edge.pictures.arrays import fit_square
from export.edge.pictures.files import open_picture
from export.edge.pictures.kinds import pictures_in
from export.edge.sampling.noise import normal

COUNT = 8
"""How many pictures a model is calibrated on, and how many it is judged by."""


def paint_probe(seed: int, size: int) -> np.ndarray:
    """A low sun in a sky of two colours, over three ridges and their ground, with grain; uint8 (size, size, 3).

    It stands for a photo where there is none: smooth and textured parts, edges, light and dark, colours across the
    range, other ones for every seed (0 or more).
    """
    numbers = iter(_uniform(seed, 64))

    def between(low: float, high: float) -> float:
        return low + (high - low) * next(numbers)

    def colour(low: float, high: float) -> np.ndarray:
        return np.array([between(low, high) for _ in range(3)])

    y, x = (np.mgrid[:size, :size] + 0.5) / size
    top, low = colour(0.05, 0.9), colour(0.3, 1.0)
    horizon = between(0.45, 0.75)
    height = np.clip(y / horizon, 0.0, 1.0)[..., None]
    picture = top + (low - top) * height ** between(0.5, 2.0)
    away = np.hypot(x - between(0.1, 0.9), y - horizon + between(0.0, 0.3))[..., None]
    sun = np.array([1.0, between(0.7, 1.0), between(0.4, 0.9)])
    glow = np.where(away < between(0.02, 0.07), 1.0, between(0.2, 0.8) * np.exp(-away / between(0.05, 0.4)))
    picture += glow * (sun - picture)
    for depth in range(3):
        ridge = horizon + 0.12 * depth - between(0.0, 0.08)
        for wave in (1, 3, 8):
            ridge = ridge + between(0.0, 0.06) / wave * np.sin(2.0 * np.pi * (wave * x + between(0.0, 1.0)))
        ground = colour(0.02, 0.6 - 0.15 * depth) * (1.0 - 0.4 * np.clip((y - ridge) * 3.0, 0.0, 1.0))[..., None]
        picture = np.where((y > ridge)[..., None], ground, picture)
    picture += 0.015 * normal(seed, 1, picture.shape)
    return np.floor(np.clip(picture, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def paint_photos(side: int) -> list[np.ndarray]:
    """Painted photos that are larger and smaller than a model's size, uint8 (height, width, 3), none of them square."""
    large = paint_probe(2 * COUNT, 4 * side)
    return [large[:, side // 2 : 3 * side], large[: side // 2 + 1, : side // 3 + 1]]


def probe_pictures(paths: Sequence[Path] | None, side: int, fit: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Guiding pictures to calibrate on and to judge by, at most COUNT each, uint8 (side, side, 3).

    Of the pictures at `paths` every other one goes either way; a single one goes both. None: painted ones.
    """
    if paths is None:
        calibration, judging = ([paint_probe(first + i, side) for i in range(COUNT)] for first in (0, COUNT))
        return calibration, judging
    calibration, judging = (opened(spread(half, COUNT), side, fit) for half in (paths[::2], paths[1::2] or paths))
    return calibration, judging


def listed(folder: Path, what: str) -> list[Path]:
    """The picture files directly in a folder, by name. Raises UserError when there are none."""
    if not folder.is_dir():
        raise UserError(f"{what} {folder} is no folder; name one with pictures in it")
    found = pictures_in(folder)
    if not found:
        raise UserError(f"{what} {folder} holds no pictures; name a folder with JPEG, PNG or WebP files in it")
    return found


def opened(paths: Sequence[Path], size: int, fit: str) -> list[np.ndarray]:
    """The pictures in files as training would see them, uint8 (size, size, 3)."""
    return [fit_square(open_picture(path), size, fit) for path in paths]


def spread(paths: Sequence[Path], count: int) -> list[Path]:
    """At most `count` of the paths, evenly spread over them."""
    return [paths[i] for i in sorted({int(i) for i in np.linspace(0, len(paths) - 1, min(count, len(paths)))})]


def _uniform(seed: int, count: int) -> np.ndarray:
    """float64 (count,) in [0, 1): the same for a seed on every machine."""
    # The fractional part of a normal number, in units far below its spread, is even to many digits.
    return np.mod(normal(seed, 0, (count,)).astype(np.float64) * 1024.0, 1.0)
