"""Which pictures along the way are kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from export.edge.errors import UserError
from export.edge.pictures.frames import KEPT, check_frames, kept_steps, save_frames


@pytest.mark.parametrize("total", [1, 2, 9, 10, 11, 19, 20, 50, 999, 1000])
def test_about_ten_steps_are_kept_and_the_last_always(total: int) -> None:
    kept = kept_steps(total)
    assert len(kept) == min(total, KEPT) and kept[-1] == total - 1 and kept[0] >= 0
    gaps = np.diff(kept)
    assert gaps.size == 0 or gaps.max() - gaps.min() <= 1


def test_a_failure_leaves_no_folder(tmp_path: Path) -> None:
    x = np.zeros((4, 4, 3), np.float32)
    with pytest.raises((ValueError, TypeError)):
        save_frames(tmp_path / "frames", x, [(0, 9, x)], np.zeros((4, 4, 3, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_only_our_own_old_pictures_give_way(tmp_path: Path) -> None:
    for name in ("step_0009_t0001.png", "step_mine.png", "notes.txt"):
        (tmp_path / name).write_text("")
    x = np.zeros((4, 4, 3), np.float32)
    save_frames(tmp_path, x, [(0, 9, x)], np.zeros((4, 4, 3), np.uint8))
    assert {path.name for path in tmp_path.iterdir()} == {
        "step_mine.png", "notes.txt", "start_noise.png", "step_0001_t0009.png", "final.png", "film_strip.png",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["final.png", "step_0004_t0000.png"])
def test_a_photo_is_not_overwritten_by_a_picture_along_the_way(tmp_path: Path, name: str) -> None:
    assert check_frames(tmp_path, tmp_path / "photo.png") == tmp_path
    assert check_frames(tmp_path / "new", tmp_path / name) == tmp_path / "new"
    with pytest.raises(UserError, match=rf"would get a {name}, which is the photo itself"):
        check_frames(tmp_path, tmp_path / name)
