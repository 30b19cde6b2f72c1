"""A change of colour on a large photo: against the formula in float64, by any number of threads, arrays and images."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from export.edge.recolour import apply, apply_in_place


def change_of(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    slopes = np.eye(3) + 0.3 * rng.standard_normal((height, width, 3, 3))
    return np.concatenate([slopes, 0.3 * rng.standard_normal((height, width, 1, 3))], axis=2).astype(np.float32)


def photo_of(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)


def between(values: np.ndarray, size: int) -> np.ndarray:
    """Values along the first axis, enlarged bilinearly to `size`."""
    place = np.clip((np.arange(size) + 0.5) * len(values) / size - 0.5, 0, len(values) - 1)
    share = (place % 1.0).reshape(-1, *[1] * (values.ndim - 1))
    first = place.astype(int)
    return values[first] * (1 - share) + values[np.minimum(first + 1, len(values) - 1)] * share


@pytest.mark.parametrize(
    ("small", "large"),
    [((9, 11), (300, 211)), ((8, 8), (8, 8)), ((5, 3), (201, 7)), ((1, 1), (70, 5)), ((6, 4), (7, 9))],
)
def test_it_is_the_bilinear_change_of_each_pixel(small: tuple[int, int], large: tuple[int, int]) -> None:
    change, photo = change_of(*small), photo_of(*large)
    whole = between(between(change.astype(np.float64), large[0]).swapaxes(0, 1), large[1]).swapaxes(0, 1)
    colours = photo / 127.5 - 1.0
    exact = np.einsum("yxk,yxkc->yxc", colours, whole[:, :, :3]) + whole[:, :, 3]
    levels = np.clip(127.5 * exact + 127.5, 0.0, 255.0)
    assert np.abs(apply(change, photo) - levels).max() <= 0.51


def test_threads_and_images_make_no_difference() -> None:
    change, photo = change_of(12, 9), photo_of(517, 90)
    expected = apply(change, photo, threads=1)
    np.testing.assert_array_equal(apply(change, photo, threads=3), expected)
    image = Image.fromarray(photo)
    apply_in_place(change, image, threads=3)
    np.testing.assert_array_equal(np.asarray(image), expected)
    assert (expected != photo).any()
