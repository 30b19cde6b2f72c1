"""The one door for pictures: opened, checked, oriented, resized and saved here and nowhere else.

A picture is a uint8 RGB array (height, width, 3).
"""

from __future__ import annotations

import io
import math
import os
import threading
from pathlib import Path
from typing import IO, Any, Literal, get_args

import numpy as np
from PIL import Image

from export.edge.decoding import to_array, upright
from export.edge.errors import UserError, describe_os_error
from export.edge.files import check_input_file, check_output_file, write_bytes
from export.edge.reading import too_large
from export.edge.tags import NONE, Tags, read_tags, save_options

Fit = Literal["crop", "letterbox", "stretch"]
FITS: tuple[str, ...] = get_args(Fit)

MAX_PIXELS = 100_000_000
"""Pictures with more pixels than this are refused before they are decoded."""

MAX_SIDE = 100_000
"""And longer ones: a thread of pixels takes seconds to bring to a square."""
MAX_BYTES = 2**30
"""So are larger files: with as many pixels of 16 bits, uncompressed, they have 600 million."""

LARGEST_SIZE = 4096
"""Largest side that pictures are brought to for a network, pixels."""

READABLE = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm"})
"""Suffixes of files that are taken for pictures where a folder is searched; others are passed over."""
WRITABLE = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_LONGEST_SIDE = {"PNG": 2**31 - 1, "JPEG": 65500, "WEBP": 16383}
SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "PNG": {"compress_level": 3},
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 95},
}
"""Pillow's settings for what is written. PNG's level is the last before zlib looks beyond a match for a better one:
nearly twice as fast as Pillow's 6, for files an eighth larger."""

PAD = 128
"""Grey of the letterbox bars: the middle of the value range, so near to zero for the network."""

_TILE_WIDTH, _TILE_LENGTH = 322, 323
"""Tags of TIFF 6.0, section 15."""

_opening = threading.Lock()


def open_picture(path: Path) -> np.ndarray:
    """The picture in a file, uint8 (height, width, 3), upright by its EXIF orientation. See `open_photo`."""
    return open_photo(path)[0]


def open_photo(path: Path) -> tuple[np.ndarray, Tags]:
    """The picture in a file, uint8 (height, width, 3), upright by its EXIF orientation, and what stands beside it.

    Reads the first frame of JPEG, PNG, WebP, BMP, TIFF, GIF and PPM. Transparency is laid
    over white; greyscale, palette and CMYK become RGB; 16-bit and float samples are
    brought to 8 bits. Colours are not converted: the numbers stay in the space of the
    file's colour profile, which is among the Tags. Raises UserError, naming the file, when
    it is missing, is no picture, is damaged or cut short, or has more than MAX_PIXELS
    pixels (known from the header, before anything is decoded), MAX_SIDE on a side, or MAX_BYTES.
    """
    check_input_file(path, "picture")
    try:
        file = path.open("rb")
    except OSError as error:
        raise UserError(f"picture {path}: {describe_os_error(error)}") from error
    with file:
        if os.fstat(file.fileno()).st_size > MAX_BYTES:
            raise too_large(path, "picture", MAX_BYTES)
        return _decode(file, path)


def decode_picture(data: bytes, name: str) -> np.ndarray:
    """The picture in the bytes of a file, as `open_picture` has it; `name` says in errors where they are from."""
    return _decode(io.BytesIO(data), name)[0]


def _decode(file: IO[bytes], path: Path | str) -> tuple[np.ndarray, Tags]:
    image = _open_header(file, path)
    width, height = image.size
    if max(width * height, _tile_pixels(image)) > MAX_PIXELS:
        raise UserError(
            f"picture {path} has {width} x {height} pixels, more than the limit of {MAX_PIXELS // 1_000_000} "
            "million; make it smaller first"
        )
    if max(width, height) > MAX_SIDE:
        raise UserError(f"picture {path} is {width} x {height}, longer than {MAX_SIDE} pixels; cut it first")
    try:
        image.load()
        tags = read_tags(image)
        image = upright(image)  # In place of the other, which may be large.
        return to_array(image), tags
    # A damaged file makes Pillow's decoders raise nearly anything: OSError, ValueError, SyntaxError, zlib.error...
    except Exception as error:
        raise UserError(
            f"picture {path} is damaged or cut short ({error}); get a whole copy of it or save it again"
        ) from error


def _open_header(file: IO[bytes], path: Path | str) -> Image.Image:
    """Read the header alone. Our own limit stands in for Pillow's, which warns, names no remedy and is global."""
    with _opening:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file, formats=READABLE)
        except Exception as error:
            raise UserError(
                f"{path} is not a picture that can be read; give a JPEG, PNG, WebP, BMP, TIFF, GIF or PPM file"
            ) from error
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _tile_pixels(image: Image.Image) -> int:
    """Pixels of one tile of a TIFF file, which is decoded whole however little of it the picture needs."""
    tags = getattr(image, "tag_v2", {})
    sides = [tags.get(tag) for tag in (_TILE_WIDTH, _TILE_LENGTH)]
    return math.prod(side for side in sides if isinstance(side, int)) if all(sides) else 0


def resize(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """`picture` at another size, uint8 (height, width, 3): Lanczos over three lobes, antialiased when it shrinks."""
    return _resample(picture, height, width, None)


def _resample(
    picture: np.ndarray,
    height: int,
    width: int,
    box: tuple[float, float, float, float] | None,
    reducing_gap: float | None = None,
) -> np.ndarray:
    """Resize the part (left, top, right, bottom) of a picture, or all of it.

    With a reducing_gap, one that shrinks by twice as much is first averaged over whole blocks of pixels.
    """
    if picture.shape[:2] == (height, width) and box is None:
        return picture
    image = Image.fromarray(picture)
    return np.array(image.resize((width, height), Image.Resampling.LANCZOS, box=box, reducing_gap=reducing_gap))


def fit_square(picture: np.ndarray, size: int, fit: str) -> np.ndarray:
    """`picture` as training sees it, uint8 (size, size, 3).

    crop: scaled to cover the square, centre kept. letterbox: scaled to fit into it, the
    rest mid-grey. stretch: scaled each way on its own. Any other `fit` is a UserError.
    """
    _check_fit(fit)
    height, width = picture.shape[:2]
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


def working(picture: np.ndarray, size: int, fit: str, multiple: int) -> np.ndarray:
    """`picture` as a network trained on fit_square(picture, size, fit) should see it.

    Returns uint8 (h, w, 3), h and w multiples of `multiple`; `export.edge.detail` has the way back.

    crop: nothing is cut away; the short side becomes `size`, the long one follows, and
    both shrink when they would cover more than eight times size * size. letterbox: a
    square with mid-grey bars. stretch: a square.
    """
    _check_fit(fit)
    height, width = picture.shape[:2]
    if fit != "crop":
        return fit_square(picture, _round_to(size, multiple), fit)
    inner_height, inner_width = working_sides(height, width, size, multiple)
    # From eight times the size on, in a sixth of the time and within two levels of doing without.
    return _resample(picture, inner_height, inner_width, None, reducing_gap=4.0)


def without_bars(result: np.ndarray, height: int, width: int, fit: str) -> np.ndarray:
    """The part of a picture of working size (h, w, 3) that a photo of this size covers: all but letterbox's bars."""
    if fit != "letterbox":
        return result
    inner_height, inner_width, top, left = _letterbox(height, width, result.shape[0])
    return result[top : top + inner_height, left : left + inner_width]


def working_sides(height: int, width: int, size: int, multiple: int) -> tuple[int, int]:
    """Height and width that `working` brings a picture of these sides to by "crop"."""
    limit = 8 * size * size
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


def check_output_picture(path: Path, what: str = "output") -> Path:
    """Return `path` when a picture can be saved there: its folder exists, its suffix is known; else UserError."""
    if path.suffix.lower() not in WRITABLE:
        raise UserError(f"{what} {path}: {path.suffix or 'no'} suffix is not known; use {', '.join(WRITABLE)}")
    return check_output_file(path, what)


def save_picture(path: Path, picture: np.ndarray, tags: Tags = NONE) -> None:
    """Write a picture, atomically, in the format of its suffix: .png, .jpg, .jpeg or .webp; and `tags` beside it.

    Raises UserError for another suffix, a missing folder or a picture too long for the format.
    """
    check_output_picture(path, "picture")
    kind = WRITABLE[path.suffix.lower()]
    if max(picture.shape[:2]) > _LONGEST_SIDE[kind]:
        raise UserError(
            f"picture {path}: {picture.shape[1]} x {picture.shape[0]} is too long for {kind}, whose sides end at "
            f"{_LONGEST_SIDE[kind]}; use .png"
        )
    buffer = io.BytesIO()  # Encoded in memory first, so that a full disk is reported by the system, not by a codec.
    Image.fromarray(picture).save(buffer, kind, **SAVE_OPTIONS[kind], **save_options(tags))
    write_bytes(path, buffer.getvalue())
