"""The figures of alignment: displaced pairs count as displaced, strangers as strangers."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.edge.errors import UserError
from export.edge.pictures.files import save_picture
from jax_impl.data.synthetic import render_pair
from tests.figures.alignment import main


def test_pairs_that_are_displaced_come_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for side in "AB":
        (tmp_path / side).mkdir()
    for seed, name in enumerate(("harbour", "hill", "street")):
        for side, picture in zip("AB", render_pair(seed, 240), strict=True):
            save_picture(tmp_path / side / f"{name}.png", picture)
    main([str(tmp_path), "--strangers", "3"])
    said = capsys.readouterr().out
    assert "3 pairs, 3 moved (100 %)" in said
    assert "from the undisplaced pair (3): median 0." in said
    assert "of 3 pairs of different places 0 moved" in said


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        main([str(tmp_path / "nowhere")])
