"""Sheets show every picture, whole and in its place."""

from __future__ import annotations

import numpy as np
import pytest

from export.edge.errors import UserError
from export.edge.pictures import sheets


def photo(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_a_grid_shows_every_picture_whole() -> None:
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    row = [np.full((20, 30, 3), colour, np.uint8) for colour in colours]
    sheet = sheets.grid([row, row], gap=5)
    assert sheet.shape == (5 + 2 * 25, 5 + 3 * 35, 3) and sheet.dtype == np.uint8
    for colour in colours:
        assert (sheet == colour).all(-1).sum() == 2 * 20 * 30
    assert sheet[0, 0].tolist() == list(sheets.BACKGROUND)


def test_a_grid_brings_pictures_to_one_height_and_takes_uneven_rows() -> None:
    sheet = sheets.grid([[photo(10, 10), photo(20, 40)], [photo(40, 20)]], gap=0)
    assert sheet.shape == (80, 40 + 80, 3)


def test_titles_stand_over_their_columns() -> None:
    row = [np.full((20, 60, 3), 250, np.uint8)] * 2
    plain, titled = sheets.grid([row]), sheets.grid([row], ["sunrise", "sunset"])
    band = titled.shape[0] - plain.shape[0]
    assert band > 8 and titled.shape[1] == plain.shape[1]
    inked = np.any(titled[:band] < 128, axis=(0, 2))
    assert inked[:64].any() and inked[70:].any()
    assert sheets.grid([[photo(8, 8)]], ["a title wider than its picture"]).shape[1] > 60


def test_grids_that_make_no_sense() -> None:
    for rows in ([], [[]]):
        with pytest.raises(UserError, match="no pictures"):
            sheets.grid(rows)
    with pytest.raises(UserError, match="2 titles for 1 columns"):
        sheets.grid([[photo(4, 4)]], ["a", "b"])


def test_a_film_strip_is_one_row() -> None:
    assert sheets.film_strip([photo(10, 10)] * 4).shape == (18, 4 * 14 + 4, 3)
