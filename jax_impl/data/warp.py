"""One picture laid over another that a camera took from nearly the same place.

Points are complex numbers, x + iy in pixels from a picture's centre, x to the right and y down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from export.edge.pictures.arrays import resize

_MARGIN = 1.5
"""Pixels that a bicubic filter needs around a point."""


@dataclass(frozen=True)
class Move:
    """Takes the point q of cond to the point z q + w of x0 that shows the same: z turns and scales, w shifts."""

    z: complex = 1.0 + 0.0j
    w: complex = 0.0j

    def after(self, z: complex, w: complex) -> Move:
        """First q -> z q + w, then this."""
        return Move(self.z * z, self.z * w + self.w)

    def farthest(self, height: int, width: int) -> float:
        """The displacement of the corner that is displaced most, pixels."""
        corners = [complex(x, y) / 2 for x in (-width, width) for y in (-height, height)]
        return max(abs((self.z - 1) * q + self.w) for q in corners)


def common(move: Move, height: int, width: int) -> tuple[int, int, int, int]:
    """left, top, right, bottom of what both pictures show, in pixels of cond; both are (height, width)."""
    sides = [complex(x, y) for y in (-1, 1) for x in (-1, 1)]
    inside = complex(width / 2 - _MARGIN, height / 2 - _MARGIN)
    points = [(complex(s.real * inside.real, s.imag * inside.imag) - move.w) / move.z for s in sides]
    x, y = [p.real + width / 2 for p in points], [p.imag + height / 2 for p in points]
    left, top = max(0, math.ceil(max(x[0], x[2]))), max(0, math.ceil(max(y[0], y[1])))
    return left, top, min(width, math.floor(min(x[1], x[3]))), min(height, math.floor(min(y[2], y[3])))


def lay_over(cond: np.ndarray, x0: np.ndarray, move: Move) -> tuple[np.ndarray, np.ndarray]:
    """What both pictures show, uint8 of one size: cond cut, x0 resampled once (bicubic) and cut, no pixel invented.

    An x0 of another size is brought to cond's first.
    """
    height, width = cond.shape[:2]
    left, top, right, bottom = common(move, height, width)
    # One channel at a time and in floats, as Pillow cuts fractions of bytes off, half a level on average.
    channels = (Image.fromarray(each).convert("F") for each in np.moveaxis(resize(x0, height, width), -1, 0))
    laid = [np.asarray(transform(each, move, (left, top, right, bottom))) for each in channels]
    return cond[top:bottom, left:right], np.stack([np.clip(each + 0.5, 0, 255).astype(np.uint8) for each in laid], -1)


def transform(image: Image.Image, move: Move, box: tuple[int, int, int, int]) -> Image.Image:
    """What of an image of x0 lies on the part `box` (left, top, right, bottom) of cond, by bicubic interpolation.

    Both are of one size. Where x0 does not reach it is black, or 0.
    """
    left, top, right, bottom = box
    half = complex(image.width, image.height) / 2
    z, origin = move.z, move.z * (complex(left, top) - half) + move.w + half
    data = (z.real, -z.imag, origin.real, z.imag, z.real, origin.imag)
    return image.transform((right - left, bottom - top), Image.Transform.AFFINE, data, Image.Resampling.BICUBIC)
