"""Built-in scenes: the same landscape at sunrise and at sunset, painted from a seed."""

from __future__ import annotations

import numpy as np

from export.edge.errors import UserError
from jax_impl.data.scenery.painting import Hour, paint
from jax_impl.data.scenery.scene import Scene, draw_scene
from jax_impl.data.scenery.stage import build_stage
from jax_impl.data.splits import SPLITS, Split

MIN_SIZE, MAX_SIZE = 16, 1024
"""Side of a picture, pixels."""

__all__ = [
    "MAX_SIZE", "MIN_SIZE", "SPLITS", "Hour", "Scene", "Split", "draw_scene", "render", "render_pair", "scene_seed",
]  # fmt: skip


def scene_seed(split: Split, index: int) -> int:
    """The seed of scene `index` (from 0) of a split; no two splits share a seed."""
    if split not in SPLITS:
        raise UserError(f"split is {split!r}: choose one of {', '.join(SPLITS)}")
    if index < 0:
        raise UserError(f"scene index is {index}: choose 0 or more")
    return len(SPLITS) * index + SPLITS.index(split)


def _check_size(size: int) -> None:
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise UserError(f"size of a built-in scene is {size}: choose {MIN_SIZE} to {MAX_SIZE} pixels")


def render(scene: Scene, size: int, hour: Hour) -> np.ndarray:
    """One picture of a scene, uint8 (size, size, 3). Raises UserError for a size outside 16 to 1024."""
    _check_size(size)
    return paint(build_stage(scene, size), scene, hour)


def render_pair(seed: int, size: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """(cond, x0): the scene of `seed` at sunrise and at sunset, both uint8 (size, size, 3).

    Raises UserError for a size outside 16 to 1024 pixels and for a negative seed.
    """
    _check_size(size)
    scene = draw_scene(seed)
    stage = build_stage(scene, size)
    return paint(stage, scene, "sunrise"), paint(stage, scene, "sunset")
