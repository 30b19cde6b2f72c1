"""Pairs that a program holds as arrays, kept as picture files: what reads folders then works with them too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from export.edge.disk.files import atomic_folder
from export.edge.errors import UserError
from export.edge.pictures.files import open_picture

SIDES = ("A", "B")


def store_pairs(folder: Path, inputs: np.ndarray, targets: np.ndarray) -> Path:
    """Write pairs as PNG files, `folder`/A/00000.png and `folder`/B/00000.png and so on; returns the folder.

    `inputs`, `targets`: uint8 (pairs, height, width, 3); the sizes of the two may differ. A folder that holds these
    pairs already is left as it is. Raises UserError for other arrays, and for a folder that holds other pairs.
    """
    check_pairs(inputs, targets)
    if folder.exists():
        if not _holds(folder, (inputs, targets)):
            raise UserError(f"{folder} holds other pairs than these; remove it, or name another output folder")
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(folder) as new:
        for side, pictures in zip(SIDES, (inputs, targets), strict=True):
            (new / side).mkdir()
            for i, picture in enumerate(pictures):
                Image.fromarray(picture).save(new / _name(side, i), compress_level=1)
    return folder


def check_pairs(inputs: np.ndarray, targets: np.ndarray) -> None:
    """Raise UserError unless these are as many inputs as targets, uint8 (pairs, height, width, 3)."""
    for what, pictures in (("inputs", inputs), ("targets", targets)):
        if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[3] != 3 or 0 in pictures.shape:
            raise UserError(
                f"{what} are an array {pictures.dtype} {pictures.shape}; give uint8 (pairs, height, width, 3), values "
                "0 to 255, not empty"
            )
    if len(inputs) != len(targets):
        raise UserError(f"there are {len(inputs)} inputs and {len(targets)} targets; give one target for each input")


def _name(side: str, index: int) -> str:
    return f"{side}/{index:05d}.png"


def _holds(folder: Path, sides: tuple[np.ndarray, np.ndarray]) -> bool:
    """Whether a folder holds exactly these pairs."""
    for side, pictures in zip(SIDES, sides, strict=True):
        files = [folder / _name(side, i) for i in range(len(pictures))]
        if sorted((folder / side).glob("*")) != files:
            return False
        if not all(np.array_equal(open_picture(file), picture) for file, picture in zip(files, pictures, strict=True)):
            return False
    return True
