"""Pictures as a program hands them over: arrays, Pillow's images, or the paths of files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from export.edge.errors import UserError
from export.edge.pictures.decoding import to_array, upright
from export.edge.pictures.files import open_picture

Picture = np.ndarray | Image.Image | Path | str
"""uint8 (height, width, 3), an image of Pillow of any mode, or the path of a picture file."""


def array_of(picture: Picture) -> np.ndarray:
    """The picture as uint8 (height, width, 3), upright.

    Raises UserError for an array of another kind, and for a file that cannot be read.
    """
    if isinstance(picture, Image.Image):
        return to_array(upright(picture))
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
            raise UserError(
                f"the picture is an array {picture.dtype} {picture.shape}; give uint8 (height, width, 3), values 0 to "
                "255, not empty"
            )
        return picture
    return open_picture(Path(picture))
