"""Picture files: opened, checked, oriented and saved here and nowhere else.

A picture is a uint8 RGB array (height, width, 3).
"""

from __future__ import annotations

import io
import math
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from PIL import Image

from export.edge.disk.files import check_input_file, write_bytes
from export.edge.disk.reading import too_large
from export.edge.errors import UserError, describe_os_error
from export.edge.pictures.arrays import sides_of
from export.edge.pictures.decoding import is_turned, to_array, to_image, upright
from export.edge.pictures.kinds import (
    FORMATS,
    HEAD,
    READABLE,
    WRITABLE,
    check_output_picture,
    container,
    decoder,
    remedy,
)
from export.edge.pictures.tags import NONE, Tags, read_tags, save_options
from export.edge.pictures.unended import END, START, with_end

MAX_PIXELS = 100_000_000
"""Pictures with more pixels than this are refused before they are decoded."""

MAX_SIDE = 100_000
"""And longer ones: a thread of pixels takes seconds to bring to a square."""
MAX_BYTES = 2**30
"""So are larger files: with as many pixels of 16 bits, uncompressed, they have 600 million."""

_LONGEST_SIDE = {"PNG": 2**31 - 1, "JPEG": 65500, "WEBP": 16383}
SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "PNG": {"compress_level": 3},
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 95},
}
"""Pillow's settings for what is written. PNG's level is the last before zlib looks beyond a match for a better one:
nearly twice as fast as Pillow's 6, for files an eighth larger."""

_TILE_WIDTH, _TILE_LENGTH = 322, 323
"""Tags of TIFF 6.0, section 15."""

Form = TypeVar("Form", np.ndarray, Image.Image)
_opening = threading.Lock()


def open_picture(path: Path) -> np.ndarray:
    """The picture in a file, uint8 (height, width, 3), upright by its EXIF orientation. See `open_photo`."""
    return open_photo(path)[0]


def open_image(path: Path) -> tuple[Image.Image, Tags]:
    """The same as `open_photo`, as an image of mode RGB, which spares the memory and the time for an array."""
    return _open(path, to_image)


def open_photo(path: Path) -> tuple[np.ndarray, Tags]:
    """The picture in a file, uint8 (height, width, 3), upright by its EXIF orientation, and what stands beside it.

    Reads the first frame of JPEG, PNG, WebP, BMP, TIFF, GIF, PPM, AVIF and HEIC, by content, whatever the suffix; the
    last two where Pillow has a decoder. A JPEG that lacks its end mark alone is read, and the Tags say so. Transparency
    is laid over white; greyscale, palette and CMYK become RGB; 16-bit and float samples are
    brought to 8 bits. Colours are not converted: the numbers stay in the space of the
    file's colour profile, which is among the Tags. Raises UserError, naming the file, when
    it is missing, is no picture, is damaged or cut short, or has more than MAX_PIXELS
    pixels (known from the header, before anything is decoded), MAX_SIDE on a side, or MAX_BYTES.
    """
    return _open(path, to_array)


def _open(path: Path, form: Callable[[Image.Image], Form]) -> tuple[Form, Tags]:
    check_input_file(path, "picture")
    try:
        file = path.open("rb")
    except OSError as error:
        raise UserError(f"picture {path}: {describe_os_error(error)}") from error
    with file:
        if os.fstat(file.fileno()).st_size > MAX_BYTES:
            raise too_large(path, "picture", MAX_BYTES)
        return _decode(file, path, form)


def picture_size(path: Path) -> tuple[int, int]:
    """Height and width of the picture in a file, pixels, upright, as its header says; nothing is decoded.

    An orientation that follows the pixels of a PNG file is not seen. Raises UserError as `open_photo` does for a file
    that is missing or no picture.
    """
    check_input_file(path, "picture")
    with path.open("rb") as file:
        image = _open_header(file, path)
        turned = "exif" in image.info and is_turned(image)
        width, height = image.size
    return (width, height) if turned else (height, width)


def lacks_end(path: Path) -> bool:
    """Whether a picture that can be read is a JPEG file without its end mark; decodes it only where it may be one."""
    with path.open("rb") as file:
        start = file.read(2)
        file.seek(-min(2, os.fstat(file.fileno()).st_size), os.SEEK_END)
        return start == START and file.read() != END and open_photo(path)[1].note != ""


def decode_picture(data: bytes, name: str) -> np.ndarray:
    """The picture in the bytes of a file, as `open_picture` has it; `name` says in errors where they are from."""
    return _decode(io.BytesIO(data), name, to_array)[0]


def _decode(file: IO[bytes], path: Path | str, form: Callable[[Image.Image], Form]) -> tuple[Form, Tags]:
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
        image, note = _loaded(image, file, path)
        tags = replace(read_tags(image), note=note)
        image = upright(image)  # In place of the other, which may be large.
        return form(image), tags
    # A damaged file makes Pillow's decoders raise nearly anything: OSError, ValueError, SyntaxError, zlib.error...
    except Exception as error:
        raise UserError(
            f"picture {path} is damaged or cut short ({error}); get a whole copy of it or save it again"
        ) from error


def _loaded(image: Image.Image, file: IO[bytes], path: Path | str) -> tuple[Image.Image, str]:
    """The image with its pixels, and what there is to say about it."""
    try:
        image.load()
    except Exception:
        file.seek(0)
        whole = with_end(file.read(), lambda copy: _open_header(copy, path)) if image.format == "JPEG" else None
        if whole is None:
            raise
        return whole, f"{path} lacks the end mark of a JPEG file; all its pixels are there"
    return image, ""


def _open_header(file: IO[bytes], path: Path | str) -> Image.Image:
    """Read the header alone. Our own limit replaces Pillow's, which warns, names no remedy and is global."""
    kind = container(file.read(HEAD))
    file.seek(0)
    special = None if kind is None else decoder(kind)
    if kind is not None and special is None:
        raise UserError(f"{path} is a picture of the kind {kind}, which cannot be read here; {remedy(kind)} it")
    with _opening:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file, formats=FORMATS if special is None else (special,))
        except Exception as error:
            raise UserError(f"{path} is not a picture that can be read; give one of these: {READABLE}") from error
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _tile_pixels(image: Image.Image) -> int:
    """Pixels of one tile of a TIFF file, which is decoded whole however little of it the picture needs."""
    tags = getattr(image, "tag_v2", {})
    sides = [tags.get(tag) for tag in (_TILE_WIDTH, _TILE_LENGTH)]
    return math.prod(side for side in sides if isinstance(side, int)) if all(sides) else 0


def save_picture(path: Path, picture: np.ndarray | Image.Image, tags: Tags = NONE) -> None:
    """Write a picture, or an image, atomically, in the format of its suffix, .png, .jpg, .jpeg or .webp, with `tags`.

    Raises UserError for another suffix, a missing folder or a picture too long for the format.
    """
    check_output_picture(path, "picture")
    kind = WRITABLE[path.suffix.lower()]
    height, width = sides_of(picture)
    if max(height, width) > _LONGEST_SIDE[kind]:
        raise UserError(
            f"picture {path}: {width} x {height} is too long for {kind}, whose sides end at "
            f"{_LONGEST_SIDE[kind]}; use .png"
        )
    buffer = io.BytesIO()  # Encoded in memory first, so that a full disk is reported by the system, not by a codec.
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(buffer, kind, **SAVE_OPTIONS[kind], **save_options(tags))
    write_bytes(path, buffer.getbuffer())
