"""An export of a run folder: its bundle, and a model card that says what the folder knows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from export import to_onnx
from export.edge.errors import UserError
from export.edge.model.artifact import open_artifact
from export.edge.model.bundles import Training, bundle_metadata
from export.edge.model.words import WORDS
from export.run_weights import find_weights
from tests.export.test_model_card import EVALUATION
from torch_ref.weights import load_bundle

LESS = ["--variants", "fp32", "--no-sampler"]


@pytest.fixture
def run(make_bundle: Callable[..., Path], tmp_path: Path) -> Path:
    """A run folder as training leaves it, as far as an export reads it."""
    folder = tmp_path / "harbour"
    (folder / "model_checkpoints").mkdir(parents=True)
    path = make_bundle(folder / "model.safetensors", "unet")
    with safe_open(path, framework="numpy") as file:
        config = file.metadata()["config"]
    tensors = load_file(path)
    save_file(tensors, path, bundle_metadata(tensors, config, training=Training(682, 900, 10912)))
    return folder


def write_report(run: Path, digest: str) -> None:
    (run / "evaluation").mkdir()
    (run / "evaluation/evaluation.json").write_text(json.dumps(EVALUATION | {"weights_digest": digest}))


def test_the_card_has_the_name_the_steps_and_the_evaluation(run: Path, tmp_path: Path) -> None:
    write_report(run, load_bundle(run / "model.safetensors").weights_digest)
    to_onnx.main([str(run), "--output", str(run / "artifact"), *LESS])
    card = (run / "artifact/README.md").read_text()
    for part in (
        "# harbour: paired picture translation by diffusion\n",
        "- 682 of 900 planned steps; 10,912 pairs seen, repeats counted.\n",
        "| model | 21.46 (20.46–22.46) |",
        "![output](golden/output.png)",
        "-py3-none-any.whl[edge]'\n",
    ):
        assert part in card
    assert (run / "artifact/model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()


def test_an_evaluation_of_other_weights_is_left_out_and_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_report(run, "b" * 64)
    to_onnx.main([str(run), "--output", str(tmp_path / "artifact"), "--title", "Sunsets", *LESS])
    (note,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert "is about other weights" in note and "the model card is written without it" in note
    card = (tmp_path / "artifact/README.md").read_text()
    assert "# Sunsets: paired" in card and "Not scored against held-out pairs." in card


def words_of(artifact: Path) -> dict[str, str]:
    """Of the title and the names, those that an artifact's file and its config.json say alike."""
    file, config = open_artifact(artifact).words.entries(), json.loads((artifact / "config.json").read_text())
    assert file == {name: config[name] for name in WORDS if name in config}
    return file


@pytest.mark.parametrize(
    ("direction", "named"), [("forward", ("sunrise", "sunset")), ("reverse", ("sunset", "sunrise"))]
)
def test_the_built_in_scenes_have_names(run: Path, tmp_path: Path, direction: str, named: tuple[str, str]) -> None:
    path = run / "model.safetensors"
    with safe_open(path, framework="numpy") as file:
        config = json.loads(file.metadata()["config"])
    config["data"] |= {"path": "synthetic", "direction": direction}
    tensors = load_file(path)
    save_file(tensors, path, bundle_metadata(tensors, json.dumps(config)))
    to_onnx.main([str(run), "--output", str(tmp_path / "artifact"), *LESS])
    assert words_of(tmp_path / "artifact") == dict(zip(WORDS[1:], named, strict=True))
    assert f"From {named[0]} to {named[1]}: turns a picture" in (tmp_path / "artifact/README.md").read_text()


def test_names_are_those_that_are_given(run: Path, tmp_path: Path) -> None:
    asked = ["--title", "Old maps", "--input-name", "drawing", "--target-name", "map"]
    to_onnx.main([str(run), "--output", str(tmp_path / "artifact"), *LESS, *asked])
    assert words_of(tmp_path / "artifact") == {"title": "Old maps", "input_name": "drawing", "target_name": "map"}
    card = (tmp_path / "artifact/README.md").read_text()
    assert "# Old maps: paired" in card and "From drawing to map: turns a picture" in card
    with pytest.raises(
        UserError, match=r"^--target-name '' is not one line of 1 to 60 characters; name a shorter one at export$"
    ):
        to_onnx.main([str(run), "--output", str(tmp_path / "other"), *LESS, "--target-name", ""])
    assert not (tmp_path / "other").exists()


def test_what_is_no_run_or_has_no_bundle_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"harbour is the folder of a run; name another, such as \S+harbour/artifact"):
        to_onnx.main([str(run), "--output", str(run), *LESS])
    (run / "model.safetensors").unlink()
    with pytest.raises(
        UserError, match=r"run \S+harbour has no model.safetensors: .*`python -m jax_impl\.bundle --run "
    ):
        find_weights(run)
    (run / "model_checkpoints").rmdir()
    with pytest.raises(UserError, match=r"folder \S+harbour has no model.safetensors; name the folder of a run"):
        to_onnx.main([str(run), "--output", str(tmp_path / "artifact")])
    assert not (tmp_path / "artifact").exists()
