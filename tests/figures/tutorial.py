"""The pictures of docs/tutorial.md and of the README's four steps, with built-in scenes as the photos.

`python -m tests.figures.tutorial FOLDER` writes 140 pairs to FOLDER, follows the tutorial there, trains less,
and writes docs/tutorial-*.jpg. With `--made` it takes what an earlier call left in FOLDER.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from export.edge.errors import run
from export.edge.model.artifact import open_artifact
from export.edge.pictures.arrays import resize
from export.edge.pictures.files import open_picture, save_picture
from export.edge.pictures.sheets import BACKGROUND, grid
from export.edge.translate import translate
from jax_impl.data.synthetic import render_pair, scene_seed
from tests.pages import ROOT

PAIRS, SIDE = 140, 384
PHOTO = 640
"""Height of the photo that is translated; its width is 4/3 of that."""
CURVE, SHEET = "training_loss.png", "evaluation/contact_sheet.png"
COLUMNS = 5
"""Of the ten of the contact sheet that are shown."""
STEP = 360
"""Side of a picture of the four steps, pixels."""


COMMANDS = [
    ["jax_impl.doctor", "photos"],
    [
        *("jax_impl.train", "tiny", "--data.path", "photos", "--output-dir", "runs/mine"),
        *("--data.repeats", "4", "--train.epochs", "10"),
    ],
    ["jax_impl.evaluate", "--run", "runs/mine", "--data.path", "photos", "--output-dir", "runs/mine/evaluation"],
    ["export.to_onnx", "runs/mine", "--output", "artifact"],
    ["export.edge", "artifact", "photo.jpg", "sunset.jpg"],
]
"""Those of the tutorial that leave pictures, with a training of 310 steps."""


def main(argv: Sequence[str] | None = None) -> None:
    """Write the pairs, run the commands and make the pictures."""
    parser = argparse.ArgumentParser(prog="python -m tests.figures.tutorial", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--made", action="store_true", help="the folder holds everything already")
    arguments = parser.parse_args(argv)
    if not arguments.made:
        write_photos(arguments.folder)
        for words in COMMANDS:
            subprocess.run([sys.executable, "-m", *words], cwd=arguments.folder, check=True)
    for name, picture in pictures(arguments.folder).items():
        save_picture(ROOT / "docs" / f"tutorial-{name}.jpg", picture)


def write_photos(folder: Path) -> None:
    """Pairs in photos/A and photos/B, and a photo of a scene that is not among them."""
    for i in range(PAIRS):
        for side, picture in zip("AB", render_pair(scene_seed("train", i), SIDE), strict=True):
            (folder / "photos" / side).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / "photos" / side / f"{i:03d}.jpg", quality=92)
    wide = render_pair(scene_seed("test", 3), PHOTO * 4 // 3)[0]
    top = (wide.shape[0] - PHOTO) // 2
    Image.fromarray(wide[top : top + PHOTO]).save(folder / "photo.jpg", quality=92)


def pictures(folder: Path) -> dict[str, np.ndarray]:
    """By their names in docs/: uint8 (height, width, 3)."""
    samples = sorted((folder / "runs/mine/training_samples").glob("epoch_*.png"))
    first, last = open_picture(samples[0]), open_picture(samples[-1])
    look, photo, sunset = (open_picture(folder / name) for name in ("doctor.png", "photo.jpg", "sunset.jpg"))
    curve, sheet = (open_picture(folder / "runs/mine" / name) for name in (CURVE, SHEET))
    return {
        "look": look,
        "train": grid([[first, last, curve]], ["after the first epoch", "after the last epoch", "losses"]),
        "evaluate": sheet[: sheet.shape[0] // 2, : sheet.shape[1] * COLUMNS // 10],
        "translate": grid([[photo, sunset]]),
        "step-1": square(look[: look.shape[0] // 2, : look.shape[1] * 2 // 3]),
        "step-2": square(last),
        "step-3": square(variants(folder / "artifact/onnx", photo)),
        "step-4": square(grid([[photo], [sunset]])),
    }


def variants(models: Path, photo: np.ndarray) -> np.ndarray:
    """The photo and what each file makes of it, with the size of the file."""
    small = resize(photo, 180, 240)
    rows = [grid([[small]], ["photo.jpg"])]
    for name in ("model.onnx", "model_fp16.onnx", "model_int8.onnx"):
        title = f"{name}, {(models / name).stat().st_size / 1e6:.1f} MB"
        rows.append(grid([[translate(open_artifact(models / name), small)]], [title]))
    return grid([rows[:2], rows[2:]])


def square(picture: np.ndarray) -> np.ndarray:
    """The picture within STEP × STEP pixels, on the background of sheets."""
    height, width = (round(side * STEP / max(picture.shape[:2])) for side in picture.shape[:2])
    field = np.full((STEP, STEP, 3), BACKGROUND, np.uint8)
    top, left = (STEP - height) // 2, (STEP - width) // 2
    field[top : top + height, left : left + width] = resize(picture, height, width)
    return field


if __name__ == "__main__":
    run(main)
