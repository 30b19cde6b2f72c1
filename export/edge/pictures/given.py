"""Pictures as a program hands them over: arrays, Pillow's images, or the paths of files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from export.edge.errors import UserError
from export.edge.pictures.arrays import check_photo
from export.edge.pictures.decoding import to_array, upright
from export.edge.pictures.files import open_picture

Picture = np.ndarray | Image.Image | Path | str
"""uint8 (height, width, 3), an image of Pillow of any mode, or the path of a picture file."""


def array_of(picture: Picture) -> np.ndarray:
    """The picture as uint8 (height, width, 3), upright.

    What is not RGB is converted as a file's is, see `export.edge.pictures.files.open_photo`. Raises UserError for an
    array of another kind, and for an image or a file that cannot be read.
    """
    if isinstance(picture, np.ndarray):
        check_photo(picture)
        return picture
    if not isinstance(picture, Image.Image):
        return open_picture(Path(picture))
    try:
        image = upright(picture)
        if 0 in image.size:
            raise ValueError("it is empty")
        return to_array(image)
    # Pillow raises nearly anything, for a damaged file whose pixels are read only now, too.
    except Exception as error:
        raise UserError(
            f"the picture, an image of mode {picture.mode}, {picture.width} x {picture.height}, cannot be read "
            f"({error}); give another, or one of mode RGB"
        ) from error
