"""Strips and animations, opened again with Pillow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from export.edge.errors import UserError
from export.edge.pictures.film import LONGEST_SIDE, frame, most_frames, save_film


def states(count: int, height: int = 16, width: int = 24) -> list[np.ndarray]:
    """From black to white, evenly."""
    return [np.full((height, width, 3), value, np.float32) for value in np.linspace(-1, 1, count)]


@pytest.mark.parametrize("name", ["film.gif", "film.webp"])
def test_an_animation_goes_from_noise_to_the_result_and_rests_there(tmp_path: Path, name: str) -> None:
    frames = [frame(x, 32, 48, "crop") for x in states(4)[:3]]
    save_film(tmp_path / name, frames, np.full((32, 48, 3), 255, np.uint8))
    with Image.open(tmp_path / name) as film:
        assert getattr(film, "n_frames", 1) == 4 and film.info["loop"] == 0 and film.size == (48, 32)
        shown = [(np.asarray(one.convert("RGB")).mean(), one.info["duration"]) for one in ImageSequence.Iterator(film)]
    np.testing.assert_allclose([mean for mean, _ in shown], [0, 85, 170, 255], atol=3)
    assert [duration for _, duration in shown][1:] == [150, 150, 2500]


def test_a_strip_shows_the_same_side_by_side(tmp_path: Path) -> None:
    save_film(tmp_path / "film.png", [frame(x, 32, 48, "crop") for x in states(3)], np.full((32, 48, 3), 9, np.uint8))
    with Image.open(tmp_path / "film.png") as strip:
        pixels = np.asarray(strip)
    gap = (pixels.shape[0] - 32) // 2
    assert pixels.shape[1] == 4 * 48 + 5 * gap
    middles = [pixels[gap + 16, gap + 24 + i * (48 + gap), 0] for i in range(4)]
    assert middles == [0, 128, 255, 9]


@pytest.mark.parametrize(("height", "width"), [(300, 4000), (4000, 3000), (40, 30), (1, 5000)])
def test_frames_have_the_photos_shape_and_are_small(height: int, width: int) -> None:
    x = np.zeros((32, 48, 3), np.float32)
    found = frame(x, height, width, "stretch").shape
    assert max(found) == min(LONGEST_SIDE, max(height, width))
    assert abs(found[0] / found[1] - height / width) <= 0.5 / found[1] + height / width * 0.5 / found[1] or 1 in found


def test_bars_are_not_shown() -> None:
    x = np.full((32, 32, 3), -1.0)
    x[8:24] = 1.0
    assert (frame(x, 100, 200, "letterbox") == 255).all()


def test_strips_are_shorter() -> None:
    assert most_frames(Path("a.PNG")) < most_frames(Path("a.gif")) == most_frames(Path("a.WEBP"))


@pytest.mark.parametrize("name", ["film.mp4", "film", "none/film.gif"])
def test_what_cannot_be_written_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"film .*(use \.png|mkdir -p)"):
        save_film(tmp_path / name, [], np.zeros((4, 4, 3), np.uint8))
