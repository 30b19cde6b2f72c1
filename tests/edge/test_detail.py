"""The small result on the photo's own pixels, against closed forms."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from export.edge.detail import change_of_colour, to_photo_size
from export.edge.errors import UserError
from export.edge.pictures.arrays import FITS, resize, to_float, to_uint8, working
from export.edge.recolour import apply

MATRIX = np.array([[0.5, -0.2, 0.1], [0.1, 0.6, 0.0], [0.2, 0.1, 0.3]])
OFFSET = np.array([0.1, -0.1, 0.05])
sides = st.integers(1, 40)


def scene(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Busy in every window and every channel, smooth from pixel to pixel of a tenth of its size."""
    rough = np.random.default_rng(seed).integers(20, 235, (max(1, height // 5), max(1, width // 5), 3), np.uint8)
    return np.array(Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC))


def affine(colours: np.ndarray) -> np.ndarray:
    return colours @ MATRIX + OFFSET


@pytest.mark.parametrize(("height", "width"), [(48, 64), (97, 61), (240, 480)])
def test_a_change_of_colour_is_reproduced_at_any_size(height: int, width: int) -> None:
    small, photo = scene(24, 32), scene(height, width, 1)
    change = change_of_colour(to_float(small), affine(to_float(small)), epsilon=1e-9)
    found = apply(change, photo).astype(int)
    assert np.abs(found - to_uint8(affine(to_float(photo)))).max() <= 1


def test_at_its_own_size_the_result_is_whatever_the_network_drew() -> None:
    """No change of colour gives this: the offset alone carries it."""
    small, drawn = scene(24, 32), np.random.default_rng(2).uniform(-1, 1, (24, 32, 3))
    found = apply(change_of_colour(to_float(small), drawn), small).astype(int)
    assert np.abs(found - to_uint8(drawn)).max() <= 1


def test_what_the_network_painted_onto_a_flat_photo_is_enlarged_bilinearly() -> None:
    photo, drawn = np.full((33, 70, 3), 90, np.uint8), np.random.default_rng(2).uniform(-0.9, 0.9, (9, 11, 3))
    found = to_photo_size(photo, np.full((9, 11, 3), 90, np.uint8), drawn, "crop")
    levels = (127.5 * drawn + 127.5).astype(np.float32)
    for c in range(3):
        expected = Image.fromarray(levels[..., c]).resize((70, 33), Image.Resampling.BILINEAR)
        assert np.abs(found[..., c] - np.asarray(expected)).max() <= 0.51


def test_fine_detail_comes_back_that_enlarging_loses() -> None:
    photo = np.clip(scene(240, 320).astype(int) + 40 * (np.indices((240, 320)).sum(0) // 2 % 2)[..., None] - 20, 0, 255)
    photo = photo.astype(np.uint8)
    truth, small = to_uint8(affine(to_float(photo))), resize(photo, 24, 32)
    kept, soft = (
        to_photo_size(photo, small, affine(to_float(small)), "crop", detail) for detail in ("transfer", "enlarge")
    )
    assert peak_signal_noise_ratio(truth, kept) > peak_signal_noise_ratio(truth, soft) + 6


@settings(max_examples=20)
@given(sides, sides, sides, sides, st.data())
def test_rows_do_not_depend_on_which_are_worked_on_together(
    h: int, w: int, up: int, across: int, data: st.DataObject
) -> None:
    small = scene(h, w)
    change = change_of_colour(to_float(small), -to_float(small))
    photo = scene(h + up, w + across, 1)
    cuts = sorted(data.draw(st.sets(st.integers(1, h + up), max_size=4)) | {0, h + up})
    parts = [apply(change, photo, top, bottom) for top, bottom in pairwise(cuts)]
    np.testing.assert_array_equal(np.concatenate(parts), apply(change, photo))


@pytest.mark.parametrize("band", [1, 3, 7, 100])
def test_the_fit_does_not_depend_on_its_bands(band: int) -> None:
    small, drawn = to_float(scene(19, 14)), np.random.default_rng(0).uniform(-1, 1, (19, 14, 3))
    expected = change_of_colour(small, drawn)
    np.testing.assert_allclose(change_of_colour(small, drawn, band=band), expected, atol=2e-5)


def test_the_slopes_are_those_of_ridge_regression_in_each_window() -> None:
    """In the middle of a picture, by the normal equations, window after window."""
    rng = np.random.default_rng(3)
    small, drawn = rng.uniform(-1, 1, (13, 13, 3)), rng.uniform(-1, 1, (13, 13, 3))
    slopes = []
    for y, x in np.ndindex(3, 3):
        guide, target = (v[y + 4 : y + 7, x + 4 : x + 7].reshape(9, 3) for v in (small, drawn))
        centred = guide - guide.mean(0)
        slopes.append(np.linalg.inv(centred.T @ centred + 9 * 0.02 * np.eye(3)) @ centred.T @ (target - target.mean(0)))
    found = change_of_colour(small, drawn, radius=1, epsilon=0.02)[6, 6, :3]
    np.testing.assert_allclose(found, np.mean(slopes, axis=0), atol=1e-4)


@pytest.mark.parametrize("detail", ["transfer", "enlarge"])
@pytest.mark.parametrize(("height", "width"), [(24, 32), (12, 16), (1, 1), (3, 200)])
def test_without_detail_to_add_the_result_is_resized(height: int, width: int, detail: str) -> None:
    drawn = np.random.default_rng(0).uniform(-1.2, 1.2, (24, 32, 3))
    found = to_photo_size(scene(height, width), scene(24, 32), drawn, "crop", detail)
    np.testing.assert_array_equal(found, resize(to_uint8(drawn), height, width))


@pytest.mark.parametrize("detail", ["transfer", "enlarge"])
@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(("height", "width"), [(60, 80), (37, 101), (128, 64), (1, 1), (900, 3)])
def test_the_way_back_undoes_the_way_in(fit: str, height: int, width: int, detail: str) -> None:
    y, x = np.mgrid[:height, :width]
    picture = np.stack([255 * x / width, 255 * y / height, 90 + 0 * x], -1).astype(np.uint8)
    inner = working(picture, 64, fit, 8)
    back = to_photo_size(picture, inner, to_float(inner), fit, detail)
    assert back.shape == picture.shape
    if min(height, width) > 6:
        assert np.abs(back.astype(int) - picture)[3:-3, 3:-3].max() < 6


def test_bars_are_left_out() -> None:
    inner, drawn = np.full((32, 32, 3), 128, np.uint8), np.full((32, 32, 3), -1.0)
    inner[8:24], drawn[8:24] = scene(16, 32), 0.5
    for detail in ("transfer", "enlarge"):
        found = to_photo_size(scene(64, 128), inner, drawn, "letterbox", detail)
        assert found.shape == (64, 128, 3) and np.abs(found - 191.25).max() < 1


def test_an_unknown_detail_is_named() -> None:
    with pytest.raises(UserError, match="detail 'sharp' is unknown; choose one of transfer, enlarge"):
        to_photo_size(scene(9, 9), scene(9, 9), np.zeros((9, 9, 3)), "crop", "sharp")
