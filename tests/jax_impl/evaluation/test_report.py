"""The report says what was measured, warns where it must, and says how far to trust its intervals."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from jax_impl.evaluation.frontier import Curve
from jax_impl.evaluation.held_out import HeldOut
from jax_impl.evaluation.methods import Method
from jax_impl.evaluation.report import chosen, contact_sheet, interval_note, report_json, to_markdown
from jax_impl.evaluation.scoring import METRICS, Judge, Scores, make_judge, score


@pytest.fixture(scope="module")
def scored(judge: Judge, held_out: HeldOut) -> list[Scores]:
    """A model that draws the truth or the input, by chance, and the copy."""
    answers = {0: held_out.pairs.x0, 6: held_out.pairs.cond}
    model = Method("model", "model", lambda cond, seeds: answers[seeds[0]], True, 1234, 2, "ddim")
    copy = Method("copy_input", "copying the input", lambda cond, seeds: cond, False)
    return [score(judge, model, draws=2), score(judge, copy)]


def test_the_numbers_are_plain_json_and_all_there(judge: Judge, scored: list[Scores]) -> None:
    report = report_json(judge, scored, ["look out"], [Curve("steps", [(2, scored[0])])], {"artifact": "model.onnx"})
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["artifact"] == "model.onnx" and report["warnings"] == ["look out"]
    model, copy = report["methods"]["model"], report["methods"]["copy_input"]
    assert set(model["metrics"]) == {*METRICS, "swd", "joint_swd", "spectrum", "naturalness"}
    assert set(model["parts"]["swd"]) == {"32", "16"} and "brightness 2–4 px" in model["parts"]["spectrum"]
    assert report["frontier"]["dominated_by"] == [] and len(report["verdict"]) == 2
    assert (model["draws"], model["images_seen"], copy["draws"], copy["diversity"]) == (2, 1234, 1, None)
    assert model["best_of_draws"]["delta_e"]["mean"] == 0.0 < model["metrics"]["delta_e"]["mean"]
    assert copy["memory"]["drawn"] == 6
    against = report["against"]["copy_input"]["psnr"]
    assert against["mean"] == pytest.approx(model["metrics"]["psnr"]["mean"] - copy["metrics"]["psnr"]["mean"])
    assert (against["wins"], against["of"]) == (6, 6)
    assert report["steps_curve"][0]["steps"] == 2 and report["realism_curve"] == []
    assert report["steps_curve"][0]["frontier"]["dominated_by"] == []
    first = report["pictures"]["val_00000"]
    assert first["model"]["psnr"] == scored[0].values["psnr"][:, 0].tolist() and len(first["copy_input"]["ssim"]) == 1


def test_the_tables_have_a_row_for_every_method_and_say_what_is_better(judge: Judge, scored: list[Scores]) -> None:
    text = to_markdown(
        judge, scored, ["look out"], [Curve("realism", [(0.25, scored[0])])], ["Training pictures seen: 1,234."]
    )
    assert text.startswith("**WARNING: look out**\n")
    assert "6 pairs of synthetic (val), 32 × 32; mean and 95 % bootstrap interval over 6 pictures." in text
    copy = scored[1].estimates["psnr"]
    low, high = copy.interval
    assert f"| copying the input | {copy.value:.2f} ({low:.2f}–{high:.2f}) |" in text
    assert "In how many of 6 pictures the first row is better:" in text
    assert "| copying the input | 6 | 6 | 6 |" in text
    assert "Power above the targets' by octave" in text
    assert "Of 2 draws for the same input" in text
    assert "model by realism (ddim), one draw each" in text and "\n| 0.25 |" in text
    assert text.endswith("Training pictures seen: 1,234.\n")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 6 and len(rows) == sum(len(block.splitlines()) for block in tables)
    for block in tables:
        assert len({line.count(" | ") for line in block.splitlines()}) == 1


def test_without_draws_or_steps_their_tables_are_left_out(judge: Judge, scored: list[Scores]) -> None:
    text = to_markdown(judge, scored[1:], [], [], [])
    assert "draws" not in text and "by the number of steps" not in text and "WARNING" not in text


@pytest.mark.parametrize(
    ("scenes", "part"),
    [
        (("a", "a", "a", "b", "b", "b"), "over 6 pictures; they show 2 scenes only"),
        (None, "over 6 pictures"),
    ],
)
def test_intervals_say_what_they_are_over(held_out: HeldOut, scenes: tuple[str, ...] | None, part: str) -> None:
    known = held_out if scenes is None else replace(held_out, scenes=scenes, scenes_known=True)
    assert part in interval_note(make_judge(known, METRICS))


def test_the_sheet_shows_input_answer_and_target_first(held_out: HeldOut, scored: list[Scores]) -> None:
    sheet = contact_sheet(held_out, scored, 2)
    side, gap = 256, 4
    assert sheet.shape[1] == 3 * side + 4 * gap  # a copy of the input is not shown twice
    last = sheet[-side - gap : -gap, gap:]
    expected = np.concatenate([a[5] for a in (held_out.pairs.cond, scored[0].drawn[0], held_out.pairs.x0)], axis=1)
    cells = np.concatenate([last[4::8, 4 + c * (side + gap) : c * (side + gap) + side : 8] for c in range(3)], axis=1)
    np.testing.assert_array_equal(cells, expected)


def test_shown_pairs_are_spread_evenly() -> None:
    assert chosen(16, 6) == [0, 3, 6, 9, 12, 15]
    assert chosen(2, 6) == [0, 1]
