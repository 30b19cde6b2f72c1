"""Where the evening sun stands in drawn built-in scenes, and what is left of the morning's.

`python -m tests.figures.sun ARTIFACT` draws unseen scenes whose evening sun is plainly visible, and compares the
brightest disc with that of the true sunset, at 128 pixels.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.edge.errors import run
from export.edge.metrics import LUMA
from export.edge.model.artifact import open_artifact
from export.edge.pictures.files import save_picture
from export.edge.pictures.sheets import grid
from jax_impl.data.synthetic import Scene, draw_scene, render_pair, scene_seed
from jax_impl.evaluation.methods import of_artifact
from jax_impl.evaluation.smoothing import gaussian_blur
from tests.figures.counts import check_counts

SIZE = 128
DISC = 2.0
"""Standard deviation of the blur whose maximum is the disc, pixels."""
NEAR = 4.0
"""Distance from the truth's that still counts as the same place, pixels."""
PLAIN = 0.1
"""Contrast, of 1, from which an evening sun is plainly visible; half of that for a morning sun, in its brighter sky."""
FIRST = 1000
"""The first validation scene that is looked at: far from those that training shows."""


@dataclass(frozen=True)
class Figures:
    """What was found in one scene."""

    distance: float
    """From the brightest disc to that of the truth, pixels."""
    contrast: float
    """Contrast where the truth's sun stands, as a share of the truth's own."""
    ghost: float
    """Contrast where the morning sun stood, on a scale from 0 for the truth to 1 for a copy of the input."""


def main(argv: Sequence[str] | None = None) -> None:
    """Print the figures of every scene and their sums."""
    parser = argparse.ArgumentParser(prog="python -m tests.figures.sun", description=__doc__)
    parser.add_argument("artifact", type=Path, help="folder or ONNX file of an exported model")
    parser.add_argument("--scenes", type=int, default=16, help="scenes with a visible evening sun (default: 16)")
    parser.add_argument("--sheet", type=Path, help="write input, drawn and true pictures here")
    arguments = parser.parse_args(argv)
    check_counts(arguments, "scenes")
    chosen = scenes(arguments.scenes)
    inputs, truths = (np.stack(side) for side in zip(*(render_pair(scene.seed, SIZE) for scene in chosen), strict=True))
    drawn = of_artifact(open_artifact(arguments.artifact)).draw(inputs, range(len(chosen)))
    found = [judge(*each) for each in zip(chosen, inputs, drawn, truths, strict=True)]
    for scene, one in zip(chosen, found, strict=True):
        print(f"scene {scene.seed:6}  {one.distance:5.1f} px  contrast {one.contrast:5.2f}  ghost {one.ghost:5.2f}")
    near = sum(one.distance <= NEAR for one in found)
    ghost, contrast = (float(np.median([getattr(one, name) for one in found])) for name in ("ghost", "contrast"))
    print(f"{near} of {len(found)} within {NEAR:g} px; median contrast {contrast:.2f}, median ghost {ghost:.3f}")
    if arguments.sheet:
        save_picture(arguments.sheet, grid(list(zip(inputs, drawn, truths, strict=True)), ("input", "drawn", "true")))


def scenes(count: int) -> list[Scene]:
    """The first scenes from FIRST on whose suns are plainly visible, the evening's as the brightest disc.

    Where the morning sun stood, the sunset has at most half of the contrast.
    """
    found, index = [], FIRST
    while len(found) < count:
        scene = draw_scene(scene_seed("val", index))
        sunrise, sunset = render_pair(scene.seed, SIZE)
        place, morning, evening = brightest(sunset), *suns(scene)
        visible = contrast(sunset, evening) >= PLAIN and contrast(sunrise, morning) >= PLAIN / 2
        gone = abs(contrast(sunset, morning)) <= 0.5 * contrast(sunrise, morning)
        if visible and gone and np.hypot(*(place - evening)) <= NEAR:
            found.append(scene)
        index += 1
    return found


def judge(scene: Scene, sunrise: np.ndarray, drawn: np.ndarray, sunset: np.ndarray) -> Figures:
    """The figures of one scene; pictures uint8 (SIZE, SIZE, 3)."""
    morning, place = suns(scene)[0], brightest(sunset)
    own = contrast(sunset, morning)
    return Figures(
        distance=float(np.hypot(*(brightest(drawn) - place))),
        contrast=contrast(drawn, place) / contrast(sunset, place),
        ghost=max(contrast(drawn, morning) - own, 0.0) / (contrast(sunrise, morning) - own),
    )


def suns(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """(row, column) of the sun at sunrise and at sunset, pixels."""
    row = (scene.shore - scene.sun_up) * SIZE - 0.5
    return np.array([row, scene.sun_x * SIZE - 0.5]), np.array([row, (1.0 - scene.sun_x) * SIZE - 0.5])


def brightest(picture: np.ndarray) -> np.ndarray:
    """(row, column) of the brightest disc of a picture, the middle of it where it is saturated, pixels."""
    light = gaussian_blur(luminance(picture)[None, :, :, None], DISC)[0, :, :, 0]
    return np.argwhere(light >= light.max() - 0.01).mean(axis=0)


def contrast(picture: np.ndarray, place: np.ndarray) -> float:
    """Mean luminance, of 1, of the disc at a place less that of a ring around it."""
    rows, columns = np.mgrid[: len(picture), : len(picture)]
    away, light = np.hypot(rows - place[0], columns - place[1]), luminance(picture)
    return float(light[away < 3.8].mean() - light[(away > 7.7) & (away < 12.8)].mean())


def luminance(picture: np.ndarray) -> np.ndarray:
    """Luma from 0 to 1 of uint8 (height, width, 3)."""
    return picture.astype(np.float64) / 255.0 @ LUMA


if __name__ == "__main__":
    run(main)
