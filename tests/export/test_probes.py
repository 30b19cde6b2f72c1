"""Pictures to try a model with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from export.edge.errors import UserError
from export.edge.pictures.files import save_picture
from export.probes import COUNT, listed, paint_probe, probe_pictures, spread


def test_painted_pictures_are_the_same_again_and_unlike_each_other() -> None:
    some = [paint_probe(seed, 32) for seed in range(6)]
    assert all(picture.shape == (32, 32, 3) and picture.dtype == np.uint8 for picture in some)
    np.testing.assert_array_equal(some[2], paint_probe(2, 32))
    means = np.array([picture.mean(axis=(0, 1)) for picture in some])
    assert means.std(axis=0).min() > 10.0
    assert min(picture.std() for picture in some) > 10.0


def test_calibration_and_judging_share_no_picture(tmp_path: Path) -> None:
    for seed in range(5):
        save_picture(tmp_path / f"{seed}.png", np.full((20, 30, 3), 40 * seed, np.uint8))
    (tmp_path / "notes.txt").write_text("no picture")
    for paths, counts in ((None, (COUNT, COUNT)), (listed(tmp_path, "--calibrate"), (3, 2))):
        calibration, judging = probe_pictures(paths, 16, "crop")
        assert (len(calibration), len(judging)) == counts
        assert {p.shape for p in (*calibration, *judging)} == {(16, 16, 3)}
        assert not {p.tobytes() for p in calibration} & {p.tobytes() for p in judging}
    assert len(probe_pictures(listed(tmp_path, "x")[:1], 16, "crop")[1]) == 1


def test_a_few_are_spread_over_many() -> None:
    paths = [Path(str(i)) for i in range(100)]
    assert spread(paths, 3) == [paths[0], paths[49], paths[99]]
    assert spread(paths[:2], 8) == paths[:2]


def test_a_folder_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no pictures"):
        listed(tmp_path, "--calibrate")
    with pytest.raises(UserError, match="is no folder"):
        listed(tmp_path / "none", "--calibrate")
