"""Pictures of two halves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.edge.errors import UserError
from jax_impl.data.pairs import read_pair
from tests.jax_impl.data.sources.places import find


@pytest.mark.parametrize("width", [10, 13, 8])
@pytest.mark.parametrize("folder", [".", "train"])
def test_side_by_side_pictures_are_recognised(tmp_path: Path, width: int, folder: str) -> None:
    rng = np.random.default_rng(0)
    for i in range(3):
        gentle = rng.integers(0, 9, (10, 2 * width, 3), np.uint8)
        gentle[:, width:] += 100
        (tmp_path / folder).mkdir(exist_ok=True)
        Image.fromarray(gentle).save(tmp_path / folder / f"{i}.png")
    source = find(tmp_path, val_share=0.0)
    assert source.layout == "side-by-side"
    cond, x0 = read_pair(source.splits["train"][0])
    assert cond.shape == x0.shape == (10, width, 3)
    assert cond.max() < 100 <= x0.min()


def test_side_by_side_reverse_and_odd_width_drops_the_middle_column(tmp_path: Path) -> None:
    picture = np.zeros((4, 7, 3), np.uint8)
    picture[..., 0] = np.arange(7)
    Image.fromarray(picture).save(tmp_path / "x.png")
    source = find(tmp_path, layout="side-by-side", direction="reverse")
    cond, x0 = read_pair(source.splits["train"][0])
    assert cond[0, :, 0].tolist() == [4, 5, 6]
    assert x0[0, :, 0].tolist() == [0, 1, 2]


def test_a_picture_one_pixel_wide_has_no_halves(tmp_path: Path) -> None:
    Image.new("RGB", (1, 5)).save(tmp_path / "x.png")
    source = find(tmp_path, layout="side-by-side")
    with pytest.raises(UserError, match=r"x\.png is 1 pixel wide"):
        read_pair(source.splits["train"][0])


def test_plain_photographs_are_not_taken_for_side_by_side(tmp_path: Path) -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, 30).astype(np.uint8)[None, :, None], (20, 30, 3))
    Image.fromarray(ramp.copy()).save(tmp_path / "x.png")
    with pytest.raises(UserError, match="do not look like two halves"):
        find(tmp_path)
