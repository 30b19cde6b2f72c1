"""The figure of steps: its table says how far two samplers are apart, its picture shows every curve."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from export.edge.errors import UserError
from tests.figures.ablation import FIGURES
from tests.figures.steps import SHOWN, agreement_table, main, plot


def test_the_table_gives_shares_of_the_reference() -> None:
    apart = {"mean": -0.5, "low": -1.0, "high": 0.25}
    one = {"candidate": 9.5, "reference": 10.0, "difference": apart, "control": {"mean": 0.1, "low": 0.0, "high": 0.2}}
    negative = {**one, "candidate": -10.5, "reference": -10.0}
    lines = agreement_table({**dict.fromkeys(FIGURES, one), "ssim": negative})
    assert len(lines) == 2 + len(FIGURES)
    assert "| PSNR, dB | 9.50 | 10.00 | -5.0 % (-10.0 to +2.5) | +1.0 % (+0.0 to +2.0) |" in lines
    assert "| SSIM | -10.500 | -10.000 | +5.0 % (-2.5 to +10.0) | -1.0 % (-2.0 to -0.0) |" in lines


def test_the_picture_is_written(tmp_path: Path) -> None:
    point = {name: {"mean": 2.0, "low": 1.0, "high": 3.0} for name in SHOWN}
    curves = {sampler: [{"steps": steps, **point} for steps in (1, 4)] for sampler in ("ddim", "heun")}
    found = {"pairs": 3, "size": 8, "images_seen": 10, "curves": curves, "baselines": {"pixel_ridge": point}}
    plot(found, tmp_path / "steps.png")
    with Image.open(tmp_path / "steps.png") as picture:
        assert picture.size == (1200, 840)
    assert [path.name for path in tmp_path.iterdir()] == ["steps.png"]


def test_a_run_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        main(["--run", str(tmp_path / "nowhere"), "--output", str(tmp_path / "steps.png")])
    assert not list(tmp_path.iterdir())
