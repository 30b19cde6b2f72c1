"""The pictures along the way from noise to result, kept and saved as a folder and a film strip."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from export.edge.disk.files import atomic_folder, check_output_folder
from export.edge.errors import UserError
from export.edge.pictures.arrays import to_uint8
from export.edge.pictures.files import save_picture
from export.edge.pictures.sheets import film_strip

KEPT = 10
"""How many of the steps are kept, evenly spaced, the last one among them."""

_WHAT = "the folder for intermediate pictures"
_NAMES = ("start_noise", "final", "film_strip")
_STEP_NAME = re.compile(r"step_\d{4,}_t\d{4,}\.png")


def kept_steps(total: int, kept: int = KEPT) -> list[int]:
    """The indices of the steps to keep out of `total`, ascending, the last one always."""
    return sorted({round((i + 1) * total / min(kept, total)) - 1 for i in range(min(kept, total))})


def check_frames(folder: Path, photo: Path) -> Path:
    """Return `folder` when pictures along the way can be saved there; else UserError, for one that is the photo too."""
    check_output_folder(folder, _WHAT)
    source = photo.resolve()
    ours = source.stem in _NAMES or _STEP_NAME.fullmatch(source.name)
    if ours and source.suffix == ".png" and source.parent == folder.resolve():
        raise UserError(f"{_WHAT} {folder} would get a {source.name}, which is the photo itself; name another folder")
    return folder


def save_frames(
    folder: Path, start: np.ndarray, states: list[tuple[int, int, np.ndarray]], final: np.ndarray | Image.Image
) -> None:
    """Write `start_noise.png`, `step_0007_t0650.png` for each state, `final.png` and `film_strip.png` into `folder`.

    `start` and the third of each state (step index, timestep, x) are floats in [-1, 1],
    (height, width, 3), clipped when they go beyond; `final` is a uint8 picture, or an image. A new
    folder appears whole or not at all; in an old one the pictures of an earlier run give way.
    """
    frames = {"start_noise": to_uint8(start)}
    frames |= {f"step_{index + 1:04d}_t{t:04d}": to_uint8(x) for index, t, x in states}
    pictures = {**frames, "final": final, "film_strip": film_strip(list(frames.values()))}
    if check_output_folder(folder, _WHAT).is_dir():
        _save_all(folder, pictures)
        for stale in folder.iterdir():
            if _STEP_NAME.fullmatch(stale.name) and stale.stem not in pictures:
                stale.unlink()
        return
    with atomic_folder(folder) as temporary:
        _save_all(temporary, pictures)


def _save_all(folder: Path, pictures: Mapping[str, np.ndarray | Image.Image]) -> None:
    for name, picture in pictures.items():
        save_picture(folder / f"{name}.png", picture)
