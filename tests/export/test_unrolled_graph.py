"""The loop written out turn by turn makes the pictures of sampler.onnx, without Loop and without whole numbers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator

from export import publish, sampler_graph, unrolled_graph, verify
from export.edge.model.artifact import open_artifact
from export.edge.model.layout import UNROLLED
from export.edge.model.metadata import LATER_KEYS
from export.edge.sampling.noise import normal
from export.probes import paint_probe
from tests.edge.conftest import SLIDER, metadata
from tests.edge.conftest import graph as tiny_graph
from tests.export.test_sampler_graph import CASES, nchw, retold, session

CONTROL = {"Loop", "If", "Scan", "Expand", "Shape", "ConstantOfShape"}
"""Operators of which some engines lack one or know it for fixed shapes alone."""


def feeds(sides: tuple[int, int], channels: int = 3, factor: int = 1) -> dict[str, np.ndarray]:
    state = (1, sides[0] // factor, sides[1] // factor, channels)
    return {"cond": nchw(np.tanh(normal(1, 0, (1, *sides, 3)))), "noise": nchw(normal(2, 0, state))}


def weight_bytes(model: onnx.ModelProto) -> int:
    return sum(tensor.ByteSize() for tensor in model.graph.initializer)


@pytest.mark.parametrize(
    ("exported", "case"),
    [("seed", CASES[2]), ("unet", CASES[5]), ("coordinates", CASES[3])],
    ids=["seed", "unet", "coordinates"],
    indirect=["exported"],
)
def test_its_pictures_are_those_of_the_loop(case: dict[str, Any], exported: tuple[Path, Path], tmp_path: Path) -> None:
    model = onnx.load(retold(exported[1], case, tmp_path / "model.onnx"))
    loop = sampler_graph.build(model)
    flat = unrolled_graph.build(loop)
    for sides in ((16, 24), (8, 8)):
        given = feeds(sides)
        (wanted,), (found,) = (session(one).run(None, given) for one in (loop, flat))
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
        assert np.std(found) > 0.01
    # The weights are there once: little is added for each turn.
    assert weight_bytes(flat) < 1.2 * weight_bytes(model)
    assert "Loop" not in {node.op_type for node in flat.graph.node}


def test_its_slider_is_that_of_the_loop() -> None:
    model = tiny_graph()
    held = {key: value for key, value in (metadata(**LATER_KEYS) | SLIDER).items() if value is not None}
    onnx.helper.set_model_props(model, held)
    looped = sampler_graph.build(model)
    loop, flat = (session(one) for one in (looped, unrolled_graph.build(looped)))
    pictures = []
    for realism in (0.0, 0.4, 1.0):
        given = feeds((16, 24)) | {"realism": np.array([realism], np.float32)}
        (wanted,), (found,) = (one.run(None, given) for one in (loop, flat))
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
        pictures.append(np.asarray(found))
    assert np.abs(pictures[0] - pictures[-1]).mean() > 0.01
    # Beyond the ends nothing more comes.
    (beyond,) = flat.run(None, feeds((16, 24)) | {"realism": np.array([5.0], np.float32)})
    np.testing.assert_array_equal(beyond, pictures[-1])


@pytest.mark.parametrize("sampler", ["ddim", "dpmpp", "heun"])
def test_it_is_made_of_plain_operators(sampler: str) -> None:
    """And the evaluator of the onnx package, which shares no code with onnxruntime, makes the same picture."""
    model = tiny_graph()
    onnx.helper.set_model_props(model, metadata(**LATER_KEYS | {"sampler": sampler}))
    loop = sampler_graph.build(model)
    flat = unrolled_graph.build(loop)
    assert not CONTROL & {node.op_type for node in flat.graph.node}
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*flat.graph.input, *flat.graph.output)}
    assert kinds == dict.fromkeys(("cond", "noise", "picture"), TensorProto.FLOAT)
    assert not [one.name for one in flat.graph.initializer if one.data_type not in (TensorProto.FLOAT,)]
    shapes = {value.type.tensor_type.shape.dim[0].dim_value for value in (*flat.graph.input, *flat.graph.output)}
    assert shapes == {1}
    given = feeds((32, 32))
    (wanted,) = session(loop).run(None, given)
    for found in (session(flat).run(None, given)[0], ReferenceEvaluator(flat).run(None, given)[0]):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_one_step_is_the_network_alone() -> None:
    model = tiny_graph()
    onnx.helper.set_model_props(model, metadata(**LATER_KEYS | {"steps": "1"}))
    names = [node.op_type for node in unrolled_graph.build(sampler_graph.build(model)).graph.node]
    assert names == ["Concat", "Conv", "Add", "Tanh", "Clip", "Mul", "Add", "Clip"]


def test_it_is_published_and_verified(
    two_networks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a codec and a second network, from which the sampler starts."""
    folder = Path(shutil.copytree(two_networks / "artifact", tmp_path / "artifact"))
    picture = paint_probe(0, 24)
    outcome = publish.publish_sampler(folder / "onnx", None, None, None, picture, UNROLLED)
    assert outcome.published and outcome.name == UNROLLED
    assert publish.sampler_difference(folder / "onnx", picture, UNROLLED) <= 1e-5
    verify.check_loops(folder / "onnx", picture)
    assert f"{UNROLLED}: largest difference from the host loop" in capsys.readouterr().out
    assert open_artifact(folder).codec.factor == 2
    monkeypatch.setattr(publish, "SAMPLER_BAR", -1.0)
    outcome = publish.publish_sampler(folder / "onnx", None, None, None, picture, UNROLLED)
    assert not outcome.published and not (folder / "onnx" / UNROLLED).exists()
