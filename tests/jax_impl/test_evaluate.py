"""The command: one thing to score, everything in the files it leaves, and one line for what cannot be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from export.edge.errors import UserError
from export.edge.pictures.files import save_picture
from jax_impl.config.data import DataConfig
from jax_impl.data.loader import load
from jax_impl.evaluate import main

SMALL = ["--data.synthetic-pairs", "6", "--data.synthetic-val-pairs", "3"]


def test_a_run_beside_another_with_draws_and_steps(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "longer"
    shutil.copytree(trained_run, other)
    words = ["--run", str(trained_run), "--baseline-run", str(other), "--seeds", "2", "--steps", "2", *SMALL]
    main([*words, "--steps-curve", "2", "--output-dir", str(tmp_path / "e")])
    report = json.loads((tmp_path / "e/evaluation.json").read_text())
    methods = report["methods"]
    assert list(methods) == [
        "model", "baseline_run", "copy_input", "mean_target", "color_transfer", "pixel_ridge", "bilateral_grid",
        "ridge_grey_2", "ridge_grey_4", "ridge_colour_8", "retrieval",
    ]  # fmt: skip
    assert len(report["verdict"]) == 2 and report["verdict"][0] in (tmp_path / "e/evaluation.md").read_text()
    assert (methods["model"]["steps"], methods["baseline_run"]["steps"]) == (2, 4)
    assert methods["model"]["images_seen"] == methods["baseline_run"]["images_seen"] == 12
    assert methods["model"]["draws"] == 2 and methods["model"]["diversity"] > 0.0
    assert report["data"]["size"] == 16 and report["run_step"] == 6
    first_draw = [report["pictures"][name]["model"]["psnr"][0] for name in report["pictures"]]
    assert report["steps_curve"][0]["metrics"]["psnr"]["mean"] == pytest.approx(sum(first_draw) / 3)
    printed = capsys.readouterr().out
    assert (tmp_path / "e/evaluation.md").read_text() in printed
    assert "Training pictures seen by baseline run longer, repeats counted: 12." in printed
    assert "WARNING" not in printed
    assert (tmp_path / "e/contact_sheet.png").exists() and (tmp_path / "e/frontier.png").exists()


def test_a_run_that_was_trained_on_other_pairs_is_called_out(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data.synthetic-pairs", "5", "--data.synthetic-val-pairs", "3", "--steps", "2"]
    main(["--run", str(trained_run), *words, "--output-dir", str(tmp_path / "e")])
    assert f"WARNING: run {trained_run} was trained on other pairs" in capsys.readouterr().out
    assert "**WARNING: run" in (tmp_path / "e/evaluation.md").read_text()


def test_pictures_of_any_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = load(DataConfig(size=16, synthetic_val_pairs=3), "val")
    folder = tmp_path / "made"
    folder.mkdir()
    for name, picture in zip(pairs.names, pairs.x0, strict=True):
        save_picture(folder / f"{name}.png", picture)
    main(["--pictures", str(folder), "--data.size", "16", *SMALL, "--output-dir", str(tmp_path / "e")])
    metrics = json.loads((tmp_path / "e/evaluation.json").read_text())["methods"]["model"]["metrics"]
    assert metrics["psnr"]["mean"] == 100.0 and metrics["swd"]["mean"] == 0.0
    assert "pictures of made, repeats counted: not known" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--artifact", "{d}/none.onnx", "--output-dir", "{d}/e"], "none.onnx"),
        (["--artifact", "{d}/none.onnx", "--output-dir", "{d}/no/e"], "does not exist; create it"),
        (["--artifact", "{d}/none.onnx", "--output-dir", "{d}/e", "--shown", "0"], "--shown is 0"),
        (["--run", "{d}/none", "--output-dir", "{d}/e", "--seeds", "0"], "--seeds is 0"),
        (["--run", "{d}/none", "--output-dir", "{d}/e", "--realism-curve", "0", "1", "0"], "name each value once"),
        (["--run", "{d}/none", "--output-dir", "{d}/e", "--seed", "-1"], "--seed -1"),
        (["--run", "{d}/none", "--output-dir", "{d}/e"], "none has no config.json"),
        (
            ["--run", "{d}/a", "--pictures", "{d}/b", "--output-dir", "{d}/e"],
            "--run and --pictures given; name exactly",
        ),
        (["--output-dir", "{d}/e"], "nothing to score given; name exactly one"),
        (["--pictures", "{d}/b", "--steps", "3", "--output-dir", "{d}/e"], "--steps says how to draw"),
        (["--pictures", "{d}/b", "--seeds", "3", "--output-dir", "{d}/e"], "--seeds is 3"),
        (["--pictures", "{d}/b", *SMALL, "--output-dir", "{d}/e"], "b is no folder"),
    ],
)
def test_bad_input(tmp_path: Path, words: list[str], part: str) -> None:
    with pytest.raises(UserError, match=part):
        main([word.format(d=tmp_path) for word in words])
    assert list(tmp_path.iterdir()) == []
