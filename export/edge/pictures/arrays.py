"""Pictures as arrays: resized, made square, brought to a network's size, and to floats and back.

A picture is a uint8 RGB array (height, width, 3); what only reads one takes an image of mode RGB too.
"""

from __future__ import annotations

from typing import Literal, TypeVar, get_args

import numpy as np
from PIL import Image

from export.edge.errors import UserError

Photo = TypeVar("Photo", np.ndarray, Image.Image)
"""A photo to be translated: uint8 (height, width, 3), or an image of mode RGB."""
Fit = Literal["crop", "letterbox", "stretch"]
FITS: tuple[str, ...] = get_args(Fit)

LARGEST_SIZE = 4096
"""Largest side that pictures are brought to for a network, pixels."""

MOST_WORKING = 8
"""The picture that a network sees has at most so many times the pixels of the square of its size."""

REDUCING_GAP = 4.0
"""From twice this many times the size on, a photo is first averaged over blocks of pixels, to no less than this."""

PAD = 128
"""Grey of the letterbox bars: the middle of the value range, so near to zero for the network."""


def sides_of(photo: np.ndarray | Image.Image) -> tuple[int, int]:
    """Height and width of a photo, pixels."""
    return (photo.height, photo.width) if isinstance(photo, Image.Image) else (photo.shape[0], photo.shape[1])


def check_photo(photo: np.ndarray | Image.Image) -> None:
    """Raise UserError unless a photo is uint8 (height, width, 3) or an image of mode RGB, and not empty."""
    if isinstance(photo, Image.Image):
        if photo.mode != "RGB" or 0 in photo.size:
            raise UserError(
                f"the picture is an image of mode {photo.mode}, {photo.width} x {photo.height}; give one of mode RGB, "
                "such as image.convert('RGB'), not empty"
            )
    elif photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3 or 0 in photo.shape:
        raise UserError(
            f"the picture is an array {photo.dtype} {photo.shape}; give uint8 (height, width, 3), values 0 to 255, not "
            "empty"
        )


def resize(picture: np.ndarray | Image.Image, height: int, width: int) -> np.ndarray:
    """At another size, uint8 (height, width, 3): Lanczos over three lobes, antialiased when it shrinks."""
    return _resample(picture, height, width, None)


def _resample(
    picture: np.ndarray | Image.Image,
    height: int,
    width: int,
    box: tuple[float, float, float, float] | None,
    reducing_gap: float | None = None,
) -> np.ndarray:
    """Resize the part (left, top, right, bottom) of a picture, or all of it.

    With a reducing_gap, one that shrinks by twice as much is first averaged over whole blocks of pixels.
    """
    if sides_of(picture) == (height, width) and box is None:
        return np.asarray(picture)
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    return np.array(image.resize((width, height), Image.Resampling.LANCZOS, box=box, reducing_gap=reducing_gap))


def fit_square(picture: np.ndarray | Image.Image, size: int, fit: str) -> np.ndarray:
    """`picture` as training sees it, uint8 (size, size, 3).

    crop: scaled to cover the square, centre kept. letterbox: scaled to fit into it, the
    rest mid-grey. stretch: scaled each way on its own. Any other `fit` is a UserError.
    """
    _check_fit(fit)
    height, width = sides_of(picture)
    if fit == "stretch":
        return resize(picture, size, size)
    if fit == "crop":
        side = min(height, width)
        left, top = (width - side) / 2, (height - side) / 2
        return _resample(picture, size, size, (left, top, left + side, top + side))
    inner_height, inner_width, top, left = _letterbox(height, width, size)
    square = np.full((size, size, 3), PAD, np.uint8)
    square[top : top + inner_height, left : left + inner_width] = resize(picture, inner_height, inner_width)
    return square


def working(picture: np.ndarray | Image.Image, size: int, fit: str, multiple: int) -> np.ndarray:
    """`picture` as a network trained on fit_square(picture, size, fit) should see it.

    Returns uint8 (h, w, 3), h and w multiples of `multiple`; `export.edge.detail` has the way back.

    crop: nothing is cut away; the short side becomes `size`, the long one follows, and
    both shrink when they would cover more than eight times size * size. letterbox: a
    square with mid-grey bars. stretch: a square.
    """
    height, width = working_sides(*sides_of(picture), size, multiple, fit)
    if fit != "crop":
        return fit_square(picture, height, fit)
    # From eight times the size on, in a sixth of the time and within two levels of doing without.
    return _resample(picture, height, width, None, reducing_gap=REDUCING_GAP)


def without_bars(result: np.ndarray, height: int, width: int, fit: str) -> np.ndarray:
    """The part of a picture of working size (h, w, 3) that a photo of this size covers: all but letterbox's bars."""
    if fit != "letterbox":
        return result
    inner_height, inner_width, top, left = _letterbox(height, width, result.shape[0])
    return result[top : top + inner_height, left : left + inner_width]


def working_sides(height: int, width: int, size: int, multiple: int, fit: str = "crop") -> tuple[int, int]:
    """Height and width that `working` brings a picture of these sides to, pixels."""
    _check_fit(fit)
    if fit != "crop":
        side = _round_to(size, multiple)
        return side, side
    limit = MOST_WORKING * size * size
    scale = min(size / min(height, width), (limit / (height * width)) ** 0.5)
    short = _round_to(min(height, width) * scale, multiple)
    long = _round_to(max(height, width) * short / min(height, width), multiple)
    # A very thin picture is held at one `multiple` across, so its length must give way to keep the limit.
    long = min(long, max(multiple, limit // short // multiple * multiple))
    return (short, long) if height <= width else (long, short)


def _letterbox(height: int, width: int, size: int) -> tuple[int, int, int, int]:
    """Height, width, top and left of a picture scaled to fit into a square."""
    scale = size / max(height, width)
    inner_height, inner_width = max(1, round(height * scale)), max(1, round(width * scale))
    return inner_height, inner_width, (size - inner_height) // 2, (size - inner_width) // 2


def _round_to(value: float, multiple: int) -> int:
    return max(1, int(value / multiple + 0.5)) * multiple


def check_size(size: int, multiple: int) -> int:
    """Return `size` where `working` can bring pictures to it: a multiple of `multiple` up to 4096; else UserError."""
    if not (0 < size <= LARGEST_SIZE and size % multiple == 0):
        nearest = min(_round_to(size, multiple), LARGEST_SIZE // multiple * multiple)
        raise UserError(
            f"size {size} is none that this model can work at; choose a multiple of {multiple} from {multiple} to "
            f"{LARGEST_SIZE}, such as {nearest}"
        )
    return size


def _check_fit(fit: str) -> None:
    if fit not in FITS:
        raise UserError(f"fit {fit!r} is unknown; choose one of {', '.join(FITS)}")


def to_float(picture: np.ndarray) -> np.ndarray:
    """uint8 0 ... 255 to float32 in [-1, 1], any shape."""
    return (picture.astype(np.float32) - np.float32(127.5)) / np.float32(127.5)


def to_uint8(values: np.ndarray) -> np.ndarray:
    """Floats in [-1, 1] to uint8 0 ... 255, any shape: clipped, then rounded to the nearest, half up."""
    return np.floor(np.clip(values, -1.0, 1.0).astype(np.float64) * 127.5 + 128.0).astype(np.uint8)
