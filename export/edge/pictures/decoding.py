"""What Pillow decoded, whatever its kind of samples, as an upright 8-bit RGB image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps
from PIL.ExifTags import Base

_BAND = 2**22
"""Pixels that are converted at once."""


def upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF orientation says."""
    try:
        # Asked first, because exif_transpose copies a picture that is upright already.
        return image if image.getexif().get(Base.Orientation, 1) == 1 else ImageOps.exif_transpose(image)
    except Exception:  # Pixels that are whole are worth more than an EXIF block that is not.
        return image


def is_turned(image: Image.Image) -> bool:
    """Whether height and width change places where the image is turned upright."""
    try:
        return image.getexif().get(Base.Orientation, 1) in (5, 6, 7, 8)
    except Exception:  # As in `upright`.
        return False


def to_array(image: Image.Image) -> np.ndarray:
    """uint8 (height, width, 3): the image by `to_rgb`, in bands, so that a large one is not held several times."""
    width, height = image.size
    rows = max(1, _BAND // width)
    bands = [(0, top, width, min(top + rows, height)) for top in range(0, height, rows)]
    deep = image.mode == "F" or image.mode.startswith("I")
    scale = _range(image, bands) if deep else (0.0, 1.0)
    picture = np.empty((height, width, 3), np.uint8)
    for box in bands:
        part = image if len(bands) == 1 else image.crop(box)
        picture[box[1] : box[3]] = _to_8_bits(part, *scale)[..., None] if deep else np.asarray(to_rgb(part))
    return picture


def to_image(image: Image.Image) -> Image.Image:
    """The same as an image of mode RGB that holds pixels alone; one that is of mode RGB already is itself returned."""
    plain = image if image.mode == "RGB" and not image.has_transparency_data else Image.fromarray(to_array(image))
    if plain.format == "HEIF":  # pillow-heif up to 1.1 decodes a file of several images again whenever it is used.
        plain = plain.copy()
    plain.info = {}  # Pillow would write some of it into any file, such as a comment.
    return plain


def to_rgb(image: Image.Image) -> Image.Image:
    """An RGB image from one of 8-bit samples, with transparency laid over white."""
    if image.has_transparency_data:
        image = image.convert("LA") if image.mode == "La" else image  # The only way that Pillow has from there.
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _range(image: Image.Image, bands: Sequence[tuple[int, int, int, int]]) -> tuple[float, float]:
    """The values of 16-bit, 32-bit or float samples that become black and white.

    16-bit samples keep their proportion (65535 is white). So do 32-bit ones that fit
    into 16 bits, floats in [0, 1] (1 is white) and floats in [0, 255]; any other range
    is stretched from its least to its greatest value.
    """
    extremes = [(float(part.min()), float(part.max())) for part in (_samples(image.crop(box)) for box in bands)]
    low, high = min(least for least, _ in extremes), max(most for _, most in extremes)
    white = (1.0 if high <= 1.0 else 255.0) if image.mode == "F" else 65535.0
    return (0.0, white) if low >= 0.0 and high <= white else (low, high)


def _samples(image: Image.Image) -> np.ndarray:
    """float32 (height, width); samples that are not finite are 0."""
    return np.nan_to_num(np.array(image).astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)


def _to_8_bits(image: Image.Image, black: float, white: float) -> np.ndarray:
    """uint8 (height, width) from one channel of 16-bit, 32-bit or float samples."""
    values = _samples(image) - np.float32(black)
    return np.floor(values / ((white - black) or 1.0) * 255.0 + 0.5).astype(np.uint8)
