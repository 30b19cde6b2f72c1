"""The network's small result carried to the photo's own pixels, so that a large photo keeps its detail.

Around each pixel of the small picture I that the network saw and of p, what it made of it, a
3 x 3 matrix A says how colours changed there (He, Sun, Tang 2013, "Guided image filtering",
equations 19 and 20, the guide in colour):

    A_k = (covariance of I in window k + EPSILON)^-1 * covariance of I with p in window k

and the mean of A over the windows that hold a pixel is what changes the photo's own pixels
there, enlarged bilinearly from the small picture (He, Sun 2015, "Fast guided filter").

The offset differs from theirs. It is p - A I pixel by pixel, where they take its mean over
windows: whatever no change of colour explains, such as a sun that the network painted, is
then in it, enlarged, and the photo's detail is added to the network's whole picture. On a
picture of the small size the transfer gives p itself.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from export.edge.choices import DETAILS
from export.edge.errors import UserError
from export.edge.pictures.arrays import Photo, resize, sides_of, to_float, to_uint8, without_bars
from export.edge.recolour import apply, apply_in_place

RADIUS = 2
"""Windows reach this many pixels of the small picture to each side."""
EPSILON = 1e-3
"""Variance, of values in [-1, 1], below which a window counts as flat, and its grain is not made larger."""
_BAND = 64
"""Rows of the small picture that are fitted together; it bounds the memory and does not change the result."""


def check_detail(detail: str) -> None:
    """Raise UserError for anything but "transfer" and "enlarge"."""
    if detail not in DETAILS:
        raise UserError(f"detail {detail!r} is unknown; choose one of {', '.join(DETAILS)}")


def to_photo_size(
    photo: Photo,
    inner: np.ndarray,
    result: np.ndarray,
    fit: str,
    detail: str = "transfer",
    *,
    in_place: bool = False,
    threads: int | None = None,
) -> Photo:
    """What the network made of a photo, at the photo's own size, of the photo's kind.

    photo: uint8 (height, width, 3), or an image of mode RGB. inner: the photo as the network saw it, brought to
    that size by `fit`, uint8 (h, w, 3). result: floats in [-1, 1], (h, w, 3), clipped when
    they go beyond. "transfer" keeps the photo's detail; "enlarge" resizes the result alone.
    A photo of no more pixels than the network saw has no detail to add: its result is
    resized, and one of its size returned as it is. With `in_place` an image may be returned changed, which spares the
    memory for a second one. `threads`: see `export.edge.recolour.apply`.
    """
    check_detail(detail)
    height, width = sides_of(photo)
    inner, result = (without_bars(part, height, width, fit) for part in (inner, result))
    if detail == "enlarge" or height * width <= inner.shape[0] * inner.shape[1]:
        made = resize(to_uint8(result), height, width)
        if isinstance(photo, np.ndarray):
            return made
        return Image.fromarray(made)
    change = change_of_colour(to_float(inner), np.clip(result, -1.0, 1.0))
    if isinstance(photo, np.ndarray):
        return apply(change, photo, threads=threads)
    image = photo if in_place else photo.copy()
    apply_in_place(change, image, threads=threads)
    return image


def change_of_colour(
    guide: np.ndarray, result: np.ndarray, radius: int = RADIUS, epsilon: float = EPSILON, band: int = _BAND
) -> np.ndarray:
    """How colours changed between two small pictures, both floats in [-1, 1], (h, w, 3).

    Returns float32 (h, w, 4, 3): guide @ [..., :3, :] + [..., 3, :] is the result.
    """
    guide, result = (np.ascontiguousarray(np.moveaxis(part, -1, 0), np.float32) for part in (guide, result))
    height, width = guide.shape[1:]
    change = np.empty((height, width, 4, 3), np.float32)
    for top in range(0, height, band):
        # Twice the radius more on each side: the windows of the windows that hold a pixel.
        first, last = max(0, top - 2 * radius), min(height, top + band + 2 * radius)
        slopes = _slopes(guide[:, first:last], result[:, first:last], radius, epsilon)
        part = _means(slopes.reshape(9, last - first, width), radius)[:, top - first : top - first + band]
        rows = slice(top, top + band)
        for k in range(3):
            for c in range(3):
                change[rows, :, k, c] = part[3 * k + c]
        for c in range(3):
            change[rows, :, 3, c] = result[c, rows] - sum(part[3 * k + c] * guide[k, rows] for k in range(3))
    return change


def _slopes(guide: np.ndarray, result: np.ndarray, radius: int, epsilon: float) -> np.ndarray:
    """The matrices A of all windows, float32 (3, 3, h, w), of two pictures (3, h, w).

    (covariance of the guide + EPSILON) is symmetric and positive definite: L D L^T, for all windows at once.
    """
    pairs = [(i, j) for i in range(3) for j in range(i + 1)]
    products = [guide[i] * guide[j] for i, j in pairs] + [guide[i] * result[c] for i in range(3) for c in range(3)]
    means = _means(np.stack([*guide, *result, *products]), radius)
    mean_guide, mean_result = means[:3], means[3:6]
    a = {(i, j): means[6 + n] - mean_guide[i] * mean_guide[j] for n, (i, j) in enumerate(pairs)}
    b = [means[12 + 3 * i : 15 + 3 * i] - mean_guide[i] * mean_result for i in range(3)]
    flat = np.float32(epsilon)
    d0 = a[0, 0] + flat
    l10, l20 = a[1, 0] / d0, a[2, 0] / d0
    d1 = a[1, 1] + flat - l10 * a[1, 0]
    rest = a[2, 1] - l20 * a[1, 0]
    l21 = rest / d1
    d2 = a[2, 2] + flat - l20 * a[2, 0] - l21 * rest
    y1 = b[1] - l10 * b[0]
    x2 = (b[2] - l20 * b[0] - l21 * y1) / d2
    x1 = y1 / d1 - l21 * x2
    x0 = b[0] / d0 - l10 * x1 - l20 * x2
    return np.stack([x0, x1, x2])


def _means(planes: np.ndarray, radius: int) -> np.ndarray:
    """`mean_over_windows` of planes (n, h, w), whose rows lie side by side: several times as fast on many planes."""
    for axis in (1, 2):
        size = planes.shape[axis]
        wide = np.pad(planes, [(radius, radius) if axis == number else (0, 0) for number in range(3)], "edge")
        total = wide[:, :size].copy() if axis == 1 else wide[:, :, :size].copy()
        for i in range(1, 2 * radius + 1):
            total += wide[:, i : i + size] if axis == 1 else wide[:, :, i : i + size]
        total /= np.float32(2 * radius + 1)
        planes = total
    return planes


def mean_over_windows(values: np.ndarray, radius: int) -> np.ndarray:
    """The mean over windows of (2 radius + 1)^2 pixels, (h, w, ...) to the same; borders are repeated outwards."""
    for axis in (0, 1):
        size = values.shape[axis]
        index = np.clip(np.arange(-radius, size + radius), 0, size - 1)
        wide = values.take(index, axis=axis)
        parts = (wide[i : i + size] if axis == 0 else wide[:, i : i + size] for i in range(2 * radius + 1))
        values = sum(parts, np.zeros_like(values)) / np.float32(2 * radius + 1)
    return values
