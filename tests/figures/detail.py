"""How a photo four times the model's size comes back: built-in scenes that were not trained on, by each way.

`python -m tests.figures.detail artifact/onnx/model.onnx --output docs/detail.png`
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from export.edge.detail import RADIUS, change_of_colour
from export.edge.errors import run
from export.edge.metrics import delta_e, psnr, sharpness_ratio, ssim
from export.edge.model.artifact import Artifact, open_artifact
from export.edge.pictures.arrays import to_float, working
from export.edge.pictures.files import save_picture
from export.edge.pictures.kinds import check_output_picture
from export.edge.pictures.sheets import grid
from export.edge.recolour import apply
from export.edge.translate import Options, translate
from jax_impl.data.synthetic import render_pair, scene_seed
from tests.figures.counts import check_counts

CROP = 256
"""Side of the part that the figure shows, pixels."""


def main(argv: Sequence[str] | None = None) -> None:
    """Draw the scenes by each way, print their mean scores as a Markdown table, and write a picture of parts of two."""
    parser = argparse.ArgumentParser(prog="python -m tests.figures.detail", description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--scenes", type=int, default=32)
    arguments = parser.parse_args(argv)
    check_output_picture(arguments.output, "--output")
    check_counts(arguments, "scenes", least=2)  # Two are shown.
    model = open_artifact(arguments.model)
    side = 4 * model.size
    ways: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "the photo itself": lambda photo: photo,
        "enlarged": lambda photo: translate(model, photo, Options(detail="enlarge")),
        "change of colour alone": lambda photo: colour_alone(model, photo),
        "change of colour, and the rest enlarged (default)": lambda photo: translate(model, photo),
        f"in windows, `--tile {side}`": lambda photo: translate(model, photo, Options(tile=side)),
    }
    pairs = [render_pair(scene_seed("test", index), side) for index in range(arguments.scenes)]
    print(f"| {side} x {side}, {len(pairs)} scenes | PSNR, dB | SSIM | ΔE2000 | sharpness |\n|---|---|---|---|---|")
    shown = []
    for name, way in ways.items():
        drawn = [way(photo) for photo, _ in pairs]
        measures = (psnr, ssim, delta_e, sharpness_ratio)
        scores = [[measure(one, truth) for measure in measures] for one, (_, truth) in zip(drawn, pairs, strict=True)]
        means = np.mean(scores, axis=0)
        print(f"| {name} | {means[0]:.2f} | {means[1]:.3f} | {means[2]:.2f} | {means[3]:.2f} |", flush=True)
        shown.append(drawn[:2])
    columns = [shown[0], shown[1], shown[3], [truth for _, truth in pairs[:2]]]
    rows = [[_part(picture, side) for picture in row] for row in zip(*columns, strict=True)]
    save_picture(
        arguments.output, grid(rows, titles=["sunrise", "enlarged", "on the photo's own pixels", "true sunset"])
    )


def colour_alone(model: Artifact, photo: np.ndarray) -> np.ndarray:
    """The guided filter as its authors have it, whose offset is a mean over windows like its slopes."""
    small = working(photo, model.size, model.fit, model.size_multiple)
    change = change_of_colour(to_float(small), to_float(translate(model, small)))
    wide = np.pad(change[:, :, 3], ((RADIUS, RADIUS), (RADIUS, RADIUS), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(wide, (2 * RADIUS + 1, 2 * RADIUS + 1), axis=(0, 1))
    change[:, :, 3] = windows.mean(axis=(-2, -1))
    return apply(change, photo)


def _part(picture: np.ndarray, side: int) -> np.ndarray:
    top, left = (side - CROP) * 3 // 4, (side - CROP) // 4
    return picture[top : top + CROP, left : left + CROP]


if __name__ == "__main__":
    run(main)
