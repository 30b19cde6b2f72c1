"""The variants: where they are in fewer bits, where they are not, and that they still compute the network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, numpy_helper

from export import precision
from export.edge.model.artifact import open_artifact
from export.probes import paint_probe
from export.scoring import visited
from torch_ref.weights import load_bundle


def run(model: onnx.ModelProto, feeds: precision.Feeds) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["prediction"], dict(feeds))[0])


def in_torch(bundle: Path, feeds: precision.Feeds) -> np.ndarray:
    with torch.inference_mode():
        return load_bundle(bundle).model(*(torch.from_numpy(feeds[name]) for name in ("x_t", "cond", "t"))).numpy()


def example(batch: int, height: int, width: int) -> precision.Feeds:
    rng = np.random.default_rng(0)
    x_t, cond = rng.standard_normal((2, batch, 3, height, width), np.float32)
    return {"x_t": x_t, "cond": cond / 3.0, "t": np.arange(batch) * 30 + 9}


def relative(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 16, 16), (3, 8, 24)])
def test_half_is_the_network_in_half_the_bytes(
    batch: int, height: int, width: int, exported: tuple[Path, Path]
) -> None:
    model = onnx.load(exported[1])
    made = precision.half(model)
    feeds = example(batch, height, width)
    assert 0.0 < relative(run(made, feeds), in_torch(exported[0], feeds)) < 1e-3
    # Every array of torch's with more than one axis: the weights of its convolutions and linear layers.
    shapes = {name: tuple(value.shape) for name, value in load_bundle(exported[0]).model.state_dict().items()}
    layers = {name for name, shape in shapes.items() if len(shape) > 1}
    held, kept = ({t.name: numpy_helper.to_array(t) for t in graph.graph.initializer} for graph in (made, model))
    halves = {name for name, values in held.items() if values.dtype == np.float16}
    assert len(layers) > 5 and halves == {f"{name}_half" for name in layers}
    for name, values in kept.items():
        if name in layers:
            assert values.dtype == np.float32 and name not in held and (values != values.astype(np.float16)).any()
            np.testing.assert_array_equal(held[f"{name}_half"], values.astype(np.float16))
        else:
            np.testing.assert_array_equal(held[name], values, strict=True)
    assert len(made.SerializeToString()) < 0.75 * len(model.SerializeToString())  # in the toy, the graph itself weighs
    for value in (*made.graph.input, *made.graph.output):
        wanted = TensorProto.INT64 if value.name == "t" else TensorProto.FLOAT
        assert value.type.tensor_type.elem_type == wanted


def test_half_calculates_in_float32_with_weights_that_are_cast_when_the_file_is_opened(
    exported: tuple[Path, Path], tmp_path: Path
) -> None:
    made = precision.half(onnx.load(exported[1]))
    halves = {t.name for t in made.graph.initializer if t.data_type == TensorProto.FLOAT16}
    casts = [node for node in made.graph.node if halves.intersection(node.input)]
    assert {node.op_type for node in casts} == {"Cast"} and len(casts) == len(halves) > 5
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "opened.onnx")
    onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    opened = onnx.load(tmp_path / "opened.onnx")
    assert TensorProto.FLOAT16 not in {t.data_type for t in opened.graph.initializer}


def test_8_bits_never_overflow_the_sums_of_old_processors(exported: tuple[Path, Path]) -> None:
    """Two products of an unsigned 8-bit value and a weight must fit into 16 bits: 2 * 255 * 64 does."""
    bundle, path = exported
    model = onnx.load(path)
    feeds = list(visited(open_artifact(path), [paint_probe(0, 24)]))
    held = {tensor.name for tensor in model.graph.initializer}  # A head multiplies two matrices that are both computed.
    layers = [node for node in model.graph.node if node.op_type in precision.LAYERS and node.input[1] in held]
    names = [precision.layer_name(node) for node in layers]
    first, last = names[0], names[-1]
    made = precision.int8(model, feeds, [first, last])
    arrays = {t.name: numpy_helper.to_array(t) for t in made.graph.initializer}
    weights = [a for a in arrays.values() if a.dtype == np.int8 and a.ndim > 1]
    assert len(weights) == len(names) - 2
    assert max(np.abs(a.astype(int)).max() for a in weights) <= 64
    zero_points = {arrays[n.input[2]].dtype for n in made.graph.node if n.op_type == "QuantizeLinear"}
    assert zero_points == {np.dtype(np.uint8)}
    kept = {name for name, a in arrays.items() if a.dtype == np.float32 and a.ndim > 1}
    assert {f"{first}.weight", f"{last}.weight"} <= kept
    found, wanted = run(made, feeds[3]), in_torch(bundle, feeds[3])
    assert 0.0 < relative(found, wanted) < 0.1


def test_a_variant_says_what_it_is_and_keeps_the_rest(exported: tuple[Path, Path]) -> None:
    model = onnx.load(exported[1])
    made = precision.finished(precision.half(model), model, "fp16")
    held, before = ({entry.key: entry.value for entry in m.metadata_props} for m in (made, model))
    assert held == before | {"precision": "fp16"}
    assert made.ir_version <= 10  # onnxruntime 1.18
    assert [(o.domain, o.version) for o in made.opset_import] == [("", 18)]
    assert [v.SerializeToString() for v in made.graph.input] == [v.SerializeToString() for v in model.graph.input]
