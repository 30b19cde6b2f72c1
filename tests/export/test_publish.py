"""What is published is good enough; what is not is left out, and says why."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from export import makers, publish
from export.edge.errors import UserError
from export.edge.model.artifact import open_artifact
from export.edge.model.sealed import seal
from export.edge.model.variants import VARIANTS
from export.makers import Exported
from export.probes import paint_probe
from torch_ref.weights import load_bundle


@pytest.fixture
def folder(exported: tuple[Path, Path], tmp_path: Path) -> Path:
    """A folder with model.onnx alone."""
    shutil.copy(exported[1], tmp_path / "model.onnx")
    return tmp_path


@pytest.mark.parametrize("exported", ["seed"], indirect=True)
def test_layers_are_freed_until_the_pictures_pass(
    exported: tuple[Path, Path], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = folder / "model.onnx"
    source = Exported(onnx.load(base), open_artifact(base), load_bundle(exported[0]).model, [paint_probe(0, 24)])
    tried = [paint_probe(1, 24)]

    def bar(name: str, db: float) -> None:
        monkeypatch.setitem(VARIANTS._entries, name, replace(VARIANTS[name], bar_db=db))

    bar("int8", 10.0)
    (easy,) = publish.publish(folder, ["int8"], source, tried)
    assert easy.published
    assert easy.score is not None
    digests = {open_artifact(folder / name).weights_digest for name in ("model.onnx", "model_int8.onnx")}
    assert digests == {load_bundle(exported[0]).weights_digest}

    bar("int8", easy.score.worst_psnr + 0.1)
    (harder,) = publish.publish(folder, ["int8"], source, tried)
    assert harder.note.count(",") > easy.note.count(",") or not harder.published

    bar("int8", 200.0)
    monkeypatch.setattr(makers, "LEAST_ERRORS", (2.0,))  # No layer has more than all of the error.
    (hardest,) = publish.publish(folder, ["int8"], source, tried)
    assert not hardest.published
    assert "under the bar of 200" in hardest.note
    assert [path.name for path in folder.iterdir()] == ["model.onnx"]


def test_the_sampler_is_measured_against_the_host_loop(folder: Path) -> None:
    picture = paint_probe(0, 24)
    refused = publish.publish_sampler(folder, None, None, None, picture)
    assert not refused.published
    assert "ddpm adds noise" in refused.note
    with pytest.raises(UserError, match="ddpm adds noise"):
        publish.publish_sampler(folder, 3, None, None, picture)
    made = publish.publish_sampler(folder, 4, "dpmpp", None, picture)
    assert made.published
    assert publish.sampler_difference(folder, picture) <= 1e-5

    path = folder / "sampler.onnx"
    model = onnx.load(path)
    for tensor in next(n for n in model.graph.node if n.op_type == "Loop").attribute[0].g.initializer:
        if tensor.name.endswith("next_from_x0"):
            changed = onnx.numpy_helper.to_array(tensor) * 1.1
            tensor.CopyFrom(onnx.numpy_helper.from_array(changed.astype("float32"), tensor.name))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match="is changed or damaged since export"):
        publish.sampler_difference(folder, picture)
    seal(path)
    assert publish.sampler_difference(folder, picture) > publish.SAMPLER_BAR


def test_the_edge_says_which_file_it_wants(folder: Path) -> None:
    publish.publish_sampler(folder, 2, "ddim", None, paint_probe(0, 24))
    with pytest.raises(UserError, match=r"has the format 'dawn2dusk-sampler', expected 'dawn2dusk'; give a file model"):
        open_artifact(folder / "sampler.onnx")
