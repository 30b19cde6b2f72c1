"""The way from noise to result as one file: a strip of pictures, or an animation."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from export.edge.disk.files import check_output_file, write_bytes
from export.edge.errors import UserError
from export.edge.pictures.arrays import resize, sides_of, to_uint8, without_bars
from export.edge.pictures.files import save_picture
from export.edge.pictures.sheets import film_strip

STRIPS = (".png", ".jpg", ".jpeg")
ANIMATIONS = {".gif": "GIF", ".webp": "WEBP"}
LONGEST_SIDE = 400
"""Most pixels of a frame's longer side."""
MOST_FRAMES = {"strip": 10, "animation": 50}
"""How many steps are shown, besides the start noise and the result."""
_MILLISECONDS = {"first": 600, "between": 150, "last": 2500}


def check_film(path: Path) -> Path:
    """Return `path` when a film can be written there: its folder exists, its suffix is known; else UserError."""
    known = (*STRIPS, *ANIMATIONS)
    if path.suffix.lower() not in known:
        raise UserError(f"film {path}: {path.suffix or 'no'} suffix is not known; use {', '.join(known)}")
    return check_output_file(path, "film")


def most_frames(path: Path) -> int:
    """How many steps a film of this suffix shows."""
    return MOST_FRAMES["strip" if path.suffix.lower() in STRIPS else "animation"]


def frame(x: np.ndarray, height: int, width: int, fit: str) -> np.ndarray:
    """A state x, floats (h, w, 3) in [-1, 1] of working size, as a frame of a photo's film: uint8 of the photo's shape.

    height, width: the photo's, in pixels. fit: how it was brought to working size.
    """
    return _small(without_bars(to_uint8(x), height, width, fit), height, width)


def save_film(path: Path, frames: Sequence[np.ndarray], result: np.ndarray | Image.Image) -> None:
    """Write `frames`, each made by `frame`, and the result, of the photo's size, to `path`.

    .png and .jpg get a strip, .gif and .webp an animation that repeats and rests on the
    result. The file appears whole or not at all.
    """
    pictures = [*frames, _small(result, *sides_of(result))]
    if check_film(path).suffix.lower() in STRIPS:
        save_picture(path, film_strip(pictures))
        return
    kind = ANIMATIONS[path.suffix.lower()]
    first, *others = (_in_256_colours(picture) if kind == "GIF" else Image.fromarray(picture) for picture in pictures)
    between = [_MILLISECONDS["between"]] * len(pictures)
    durations = [_MILLISECONDS["first"], *between[1:-1], _MILLISECONDS["last"]][-len(pictures) :]
    buffer = io.BytesIO()
    first.save(buffer, kind, save_all=True, append_images=others, duration=durations, loop=0)
    write_bytes(path, buffer.getvalue())


def _in_256_colours(picture: np.ndarray) -> Image.Image:
    """The picture in its own 256 best colours, dithered: by itself Pillow leaves bands across the sky."""
    image = Image.fromarray(picture)
    return image.quantize(palette=image.quantize(), dither=Image.Dither.FLOYDSTEINBERG)


def _small(picture: np.ndarray | Image.Image, height: int, width: int) -> np.ndarray:
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    return resize(picture, max(1, round(height * scale)), max(1, round(width * scale)))
