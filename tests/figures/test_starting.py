"""Trained weights as a start: trainings on the same pairs for the same steps, and a table of both."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.edge.errors import UserError
from jax_impl.config.arguments import parse
from jax_impl.data.loader import Pairs
from tests.figures.starting import RANDOM, RIVALS, TRAINED, Plan, chosen, main, report, train_words, write_pairs

PLAN = Plan("quick", Path("model.safetensors"), 64, 600, 4, Path("out"))
PAIRS = Pairs(
    tuple("abcde"), *(np.full((5, 8, 8, 3), np.arange(side, side + 5).reshape(5, 1, 1, 1), np.uint8) for side in (0, 9))
)


@pytest.mark.parametrize("count", [3, 8, 30, 127])
def test_every_training_has_the_same_steps(count: int) -> None:
    words = [train_words(PLAN, Path("data"), count, start, 1, Path("out/run"))[1:] for start in (RANDOM, TRAINED)]
    plain, warm = (parse(each) for each in words)
    assert (plain.init_from, warm.init_from) == (None, Path("model.safetensors").resolve())
    assert plain.settings() == warm.settings()
    assert abs(count * plain.data.repeats / plain.train.batch_size - 600) <= count / 8


def test_another_seed_takes_other_pairs_and_keeps_them_together() -> None:
    found = {chosen(PAIRS, 3, seed).names for seed in range(20)}
    assert len(found) > 1
    some = chosen(PAIRS, 3, 0)
    assert [("abcde")[value] for value in some.cond[:, 0, 0, 0]] == list(some.names)
    np.testing.assert_array_equal(some.x0, some.cond + 9)


def test_pairs_are_written_as_training_reads_them(tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairs", chosen(PAIRS, 2, 0), PAIRS)
    assert sum(1 for _ in (tmp_path / "pairs/A/train").iterdir()) == 2
    with Image.open(tmp_path / "pairs/B/val/c.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), PAIRS.x0[2])


def test_the_table_sets_both_starts_beside_each_other(tmp_path: Path) -> None:
    def write(name: str, value: float, against: dict) -> None:
        figures = {figure: {"mean": value} for figure in ("psnr", "delta_e", "joint_swd")}
        methods = {each: {"title": each, "metrics": figures} for each in ("model", *RIVALS)}
        (tmp_path / f"{name}_scores").mkdir()
        text = json.dumps({"methods": methods, "against": against, "pictures": []})
        (tmp_path / f"{name}_scores/evaluation.json").write_text(text)

    apart = {
        "baseline_run": {figure: {"mean": 2.0, "low": 1.0, "high": 3.0} for figure in ("psnr", "delta_e", "joint_swd")}
    }
    write(f"{RANDOM}_3_0", 10.0, {})
    write(f"{RANDOM}_3_1", 12.0, {})
    write(f"{TRAINED}_3_0", 20.0, apart)
    report(tmp_path, [3, 8])
    lines = (tmp_path / "starting.md").read_text().splitlines()
    assert "| 3 | random | 11.00 (10.00–12.00) | 11.00 (10.00–12.00) | 11.0 (10.0–12.0) |" in lines
    assert "| 3 | difference | +2.00 (1 of 1) | +2.00 (1 of 1) | +2.0 (1 of 1) |" in lines
    assert not [line for line in lines if line.startswith("| 8 ")]


def test_numbers_that_make_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least 1"):
        main(["synthetic", "--bundle", "model.safetensors", "--pairs", "0", "--output", str(tmp_path / "out")])
    assert not list(tmp_path.iterdir())
