"""The ablation's rows are runs that training accepts, and its table says what the evaluations say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from export.edge.errors import UserError
from jax_impl.config.arguments import parse
from jax_impl.diffusion.losses.lpips import LpipsConfig
from tests.figures.ablation import FIGURES, RIVALS, Plan, chosen, evaluate, main, to_markdown, train
from tests.figures.rows import ROWS
from tests.torch_ref.clip_networks import random_clip, write_clip
from tests.torch_ref.perceptual_networks import random_alexnet, write_lpips

PLAN = Plan("pairs", "reverse", 64, 4, 8, 16, Path("out"), 0.0)


@pytest.mark.parametrize("name", ROWS)
def test_every_row_is_a_run_on_the_same_images(name: str) -> None:
    config = parse(train(PLAN, name, 7, Path("out/run"))[1:]).settings()
    assert (config.data.path, config.data.direction, config.data.size) == ("pairs", "reverse", 64)
    assert (config.data.repeats, config.train.epochs, config.train.batch_size, config.train.seed) == (8, 4, 16, 7)


def test_a_run_is_scored_beside_the_first_row_of_its_own_seed() -> None:
    words = evaluate(PLAN, 2, Path("out/v_2"), Path("out/v_2_scores"), "seed")
    assert words[words.index("--baseline-run") + 1] == "out/seed_2"
    assert words[words.index("--seed") + 1] == "2"
    assert "--baseline-run" not in evaluate(PLAN, 2, Path("out/seed_2"), Path("out/seed_2_scores"), None)


def evaluation(psnr: float, low: float) -> dict:
    """An evaluation whose figures are all `psnr` and whose differences all reach from `low` to 1."""
    methods = {
        name: {"title": name, "images_seen": 12800, "metrics": {figure: {"mean": psnr} for figure in FIGURES}}
        for name in ("model", *RIVALS)
    }
    apart = {figure: {"mean": 0.5, "low": low, "high": 1.0} for figure in FIGURES}
    return {"data": {"pairs": 100, "size": 64}, "methods": methods, "against": {"baseline_run": apart}}


def test_the_table_holds_means_ranges_and_how_sure_they_are() -> None:
    first = {**evaluation(10.0, 0.0), "against": {}}
    text = to_markdown({"seed": [first, first], "v": [evaluation(12.0, -0.1), evaluation(13.0, 0.1)]})
    assert "every run saw 12,800 images; mean of 2 trainings" in text
    (row,) = (line for line in text.splitlines() if line.startswith(f"| {ROWS['v'].what} | 12.50"))
    assert row.startswith(f"| {ROWS['v'].what} | 12.50 (12.00–13.00) |")
    assert f"| {ROWS['v'].what} | +0.50 (1 of 2) |" in text
    assert text.count(ROWS["seed"].what) == 1


def test_with_few_scenes_wins_are_counted() -> None:
    def with_scenes(won: int) -> dict:
        one = evaluation(10.0, 0.0)
        counted = {figure: {**apart, "wins": won, "of": 3} for figure, apart in one["against"]["baseline_run"].items()}
        return {
            **one,
            "data": {**one["data"], "scenes": 3},
            "against": dict.fromkeys(("baseline_run", *RIVALS), counted),
        }

    text = to_markdown({"v": [with_scenes(3), with_scenes(1)]})
    wins = f"| {' | '.join(['4 of 6'] * len(FIGURES))} |"
    assert f"| {ROWS['v'].what} | the first row {wins}" in text and f"| {ROWS['v'].what} | pixel_ridge {wins}" in text
    assert "scenes, over" not in to_markdown({"v": [evaluation(10.0, 0.0)]})


def test_rows_that_need_weights_are_left_out_without_them() -> None:
    without, with_lpips = chosen(None, {}), chosen(None, {"--lpips": "w.safetensors"})
    assert set(without) == {name for name, row in ROWS.items() if not row.needs}
    assert set(with_lpips) - set(without) == {"lpips"}
    plan = replace(PLAN, files={"--lpips": "/w.safetensors"})
    losses = parse(train(plan, "lpips", 0, Path("out/run"))[1:]).settings().losses
    assert [term.term for term in losses] == ["hybrid", "lpips"]
    assert isinstance(losses[1], LpipsConfig) and losses[1].file == "/w.safetensors"


@pytest.mark.slow  # Three trainings and their scores, each in a process of its own.
def test_a_row_with_a_frozen_network_is_trained_and_scored(tmp_path: Path) -> None:
    weights = write_lpips(tmp_path, random_alexnet((2, 3, 3, 2, 2)))
    more = write_clip(tmp_path, random_clip(blocks=1))
    size = ["--size", "32", "--epochs", "1", "--repeats", "1", "--batch", "8", "--seeds", "1"]
    rows = ["--rows", "gaussian", "lpips", "clip", "--lpips", str(weights), "--clip", str(more)]
    main(["synthetic", *rows, *size, "--output", str(tmp_path / "out")])
    table = (tmp_path / "out/ablation.md").read_text()
    assert all(table.count(f"| {ROWS[name].what} | ") >= 2 for name in ("lpips", "clip"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rows", "w"], "w is no row"),
        (["--seeds", "0"], "at least 1"),
        (["--rows", "gaussian", "lpips"], "--rows lpips needs weights: name their file with --lpips"),
    ],
)
def test_bad_arguments(words: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        main(["pairs", *words, "--output", str(tmp_path / "out")])
    assert not list(tmp_path.iterdir())
