"""A file that another tool changed can be sealed again, where its pictures are still the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from export import publish
from export.edge.errors import UserError
from export.edge.model.artifact import open_artifact
from export.edge.model.likeness import FEATURES, fit
from export.edge.model.metadata import LATER_KEYS
from export.verify import main
from tests.edge.conftest import graph, metadata


def likeness(seed: int) -> str:
    """That of some training inputs."""
    known = fit(np.random.default_rng(seed).normal(size=(12, FEATURES)))
    assert known is not None
    return known.to_json()


@pytest.fixture
def model() -> onnx.ModelProto:
    made = graph()
    helper.set_model_props(made, metadata(**LATER_KEYS, likeness=likeness(0)))
    return made


@pytest.fixture
def folder(model: onnx.ModelProto, tmp_path: Path) -> Path:
    """An artifact folder with float32 alone."""
    (tmp_path / "artifact/onnx").mkdir(parents=True)
    publish.write(tmp_path / "artifact/onnx/model.onnx", model)
    return tmp_path / "artifact"


def changed(folder: Path, gain: float, **facts: str) -> Path:
    """A copy of its model with a node more, that multiplies the prediction, and other metadata."""
    model = onnx.load(folder / "onnx/model.onnx")
    last = next(node for node in model.graph.node if node.output[0] == "prediction")
    last.output[0] = "before"
    model.graph.initializer.append(numpy_helper.from_array(np.array(gain, np.float32), "gain"))
    model.graph.node.append(helper.make_node("Mul", ["before", "gain"], ["prediction"]))
    held = {entry.key: entry.value for entry in model.metadata_props}
    del model.metadata_props[:]
    helper.set_model_props(model, held | facts)
    path = folder.parent / "changed.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_one_with_the_same_pictures_is_sealed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = changed(folder, 1.0)
    with pytest.raises(UserError, match=r"is changed or damaged since export: .* --seal"):
        open_artifact(path)
    main([str(folder), str(path), "--seal"])
    assert "sealed; largest difference from fp32 0 of 255 levels" in capsys.readouterr().out
    assert open_artifact(path).weights_digest == open_artifact(folder).weights_digest


@pytest.mark.parametrize(
    ("gain", "facts", "message"),
    [
        (0.8, {}, "makes other pictures than the artifact"),
        (1.0, {"alphas_cumprod": "[0.9, 0.5, 0.1, 0.01]"}, "has another alphas_cumprod than the artifact"),
        (1.0, {"steps": "3"}, "has another steps than the artifact"),
        (1.0, {"weights_digest": 64 * "b"}, "has another weights_digest than the artifact"),
        (1.0, {"likeness": likeness(1)}, "has another likeness than the artifact"),
        (1.0, {"file_digest": "none"}, "it holds no digest"),
        (float("nan"), {}, "values that are not finite|makes other pictures"),
    ],
)
def test_another_one_is_refused_and_stays_as_it_is(
    gain: float, facts: dict[str, str], message: str, folder: Path
) -> None:
    path = changed(folder, gain, **facts)
    before = path.read_bytes()
    with pytest.raises(UserError, match=message):
        main([str(folder), str(path), "--seal"])
    assert path.read_bytes() == before


def test_what_it_needs(folder: Path) -> None:
    own = folder / "onnx/model.onnx"
    before = own.read_bytes()
    for words, message in (
        ([str(folder), str(own)], "is a file of the artifact itself"),
        ([str(folder)], "needs an artifact's folder and the changed model file"),
        ([str(own), str(own)], "needs an artifact's folder"),
        ([str(folder), str(folder.parent / "none.onnx")], "does not exist"),
    ):
        with pytest.raises(UserError, match=message):
            main([*words, "--seal"])
    shutil.copy(own, folder.parent / "same.onnx")
    main([str(folder), str(folder.parent / "same.onnx"), "--seal"])
    assert own.read_bytes() == (folder.parent / "same.onnx").read_bytes() == before
