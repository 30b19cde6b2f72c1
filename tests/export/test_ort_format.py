"""A whole translation in ORT format makes the same pictures, and names the operators it needs and no folder."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from export import ort_format, verify
from export.edge.errors import UserError
from export.edge.model.artifact import open_artifact
from export.edge.model.layout import OPERATORS, ours
from export.edge.translate import translate
from tests.export.graphs import photo
from tests.export.test_photo_graph import write_model

PHOTOS = [photo(61, 90), photo(5, 4)]


@pytest.fixture
def folder(once: Callable[[str, Callable[[Path], object]], Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(once("photo_model", lambda new: write_model(new, {})), tmp_path / "artifact"))


def test_it_makes_the_pictures_of_the_edge(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = ort_format.publish_ort(folder / "onnx", ["fp32", "int8"], PHOTOS)
    assert first.published and first.name == "photo.ort"
    assert not second.published and second.note == "there is no photo_int8.onnx to write in ORT format"
    session = onnxruntime.InferenceSession(str(folder / "onnx/photo.ort"), providers=["CPUExecutionProvider"])
    for picture in PHOTOS:
        (made,) = session.run(["picture"], {"photo": picture, "noise": np.zeros(0, np.float32)})
        assert np.abs(made.astype(int) - translate(open_artifact(folder), picture)).max() <= 2
    verify.check_photo_graphs(folder, 32)
    assert "photo.ort: largest difference from export.edge" in capsys.readouterr().out
    written = {path.relative_to(folder).as_posix() for path in (folder / "onnx").iterdir()}
    assert written <= set(ours(folder))


def test_weights_in_float16_stay_in_float16(make_artifact: Callable[[str], Path], tmp_path: Path) -> None:
    onnx_files = make_artifact("unet") / "artifact/onnx"
    sizes, feeds = {}, {name: np.ones((1, 3, 16, 16), np.float32) for name in ("x_t", "cond")} | {"t": np.array([50])}
    for name in ("model", "model_fp16"):
        source, target = onnx_files / f"{name}.onnx", tmp_path / f"{name}.ort"
        ort_format.convert(source, target)
        sizes[name] = target.stat().st_size
        wanted, found = (
            onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(["prediction"], feeds)[0]
            for path in (source, target)
        )
        np.testing.assert_allclose(found, wanted, atol=1e-5)
    halves = onnx.load(onnx_files / "model_fp16.onnx").graph.initializer
    spared = sum(2 * math.prod(t.dims) for t in halves if t.data_type == onnx.TensorProto.FLOAT16)
    # In a network as small as this the nodes that cast weigh much.
    assert spared > 50_000 and sizes["model"] - sizes["model_fp16"] > 0.7 * spared


def test_its_operators_are_listed(folder: Path) -> None:
    list(ort_format.publish_ort(folder / "onnx", ["fp32"], PHOTOS[:1]))
    text = (folder / "onnx" / OPERATORS).read_text()
    assert str(folder) not in text and "photo.ort" not in text
    listed: dict[str, set[str]] = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            domain, _, names = line.split(";")
            listed.setdefault(domain, set()).update(names.split(","))
    assert listed["ai.onnx"] >= {"Conv", "Tanh", "Loop", "If"}


def test_one_that_makes_other_pictures_is_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort_format, "PHOTO_BAR", -1)
    (outcome,) = ort_format.publish_ort(folder / "onnx", ["fp32"], PHOTOS[:1])
    assert not outcome.published and "of 255 levels" in outcome.note
    assert {path.name for path in (folder / "onnx").iterdir()} == {"model.onnx", "photo.onnx"}


def test_a_damaged_one_is_named(folder: Path) -> None:
    (folder / "onnx/photo.ort").write_bytes(b"no graph")
    with pytest.raises(UserError, match=r"photo\.ort cannot be read by onnxruntime"):
        ort_format.ort_difference(folder, "fp32", PHOTOS)
