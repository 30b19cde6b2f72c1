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
    guide, result = guide.astype(np.float32), result.astype(np.float32)
    height = len(guide)
    change = np.empty((*guide.shape[:2], 4, 3), np.float32)
    for top in range(0, height, band):
        # Twice the radius more on each side: the windows of the windows that hold a pixel.
        first, last = max(0, top - 2 * radius), min(height, top + band + 2 * radius)
        part = mean_over_windows(_slopes(guide[first:last], result[first:last], radius, epsilon), radius)
        change[top : top + band, :, :3] = part[top - first : top - first + band]
    change[:, :, 3] = result - (guide[:, :, None] @ change[:, :, :3])[:, :, 0]
    return change


def _slopes(guide: np.ndarray, result: np.ndarray, radius: int, epsilon: float) -> np.ndarray:
    """The matrices A of all windows, float32 (h, w, 3, 3)."""
    mean_guide, mean_result = mean_over_windows(guide, radius), mean_over_windows(result, radius)

    def covariance(values: np.ndarray, mean: np.ndarray) -> np.ndarray:
        products = mean_over_windows(guide[..., :, None] * values[..., None, :], radius)
        return products - mean_guide[..., :, None] * mean[..., None, :]

    flat = np.float32(epsilon) * np.eye(3, dtype=np.float32)
    return np.linalg.solve(covariance(guide, mean_guide) + flat, covariance(result, mean_result))


def mean_over_windows(values: np.ndarray, radius: int) -> np.ndarray:
    """The mean over windows of (2 radius + 1)^2 pixels, (h, w, ...) to the same; borders are repeated outwards."""
    for axis in (0, 1):
        size = values.shape[axis]
        index = np.clip(np.arange(-radius, size + radius), 0, size - 1)
        wide = values.take(index, axis=axis)
        parts = (wide[i : i + size] if axis == 0 else wide[:, i : i + size] for i in range(2 * radius + 1))
        values = sum(parts, np.zeros_like(values)) / np.float32(2 * radius + 1)
    return values
