"""What Pillow decoded, whatever its kind of samples, as an upright 8-bit RGB image."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps
from PIL.ExifTags import Base


def upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF orientation says."""
    try:
        # Asked first, because exif_transpose copies a picture that is upright already.
        return image if image.getexif().get(Base.Orientation, 1) == 1 else ImageOps.exif_transpose(image)
    except Exception:  # Pixels that are whole are worth more than an EXIF block that is not.
        return image


def to_rgb(image: Image.Image) -> Image.Image:
    """An 8-bit RGB image, with transparency laid over white."""
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_to_8_bits(image)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_8_bits(image: Image.Image) -> np.ndarray:
    """uint8 (height, width) from one channel of 16-bit, 32-bit or float samples.

    16-bit samples keep their proportion (65535 is white). So do 32-bit ones that fit
    into 16 bits, floats in [0, 1] (1 is white) and floats in [0, 255]; any other range
    is stretched from its least to its greatest value. Samples that are not finite are black.
    """
    values = np.nan_to_num(np.array(image).astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    white = (1.0 if high <= 1.0 else 255.0) if image.mode == "F" else 65535.0
    if low < 0.0 or high > white:
        values, white = values - low, (high - low) or 1.0
    return np.floor(values / white * 255.0 + 0.5).astype(np.uint8)
