"""The exported network in fewer bits: half precision, and whole numbers of 8 bits."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from export.denoiser_graph import quiet, strip

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""The operators that hold the weights and do the work."""

Feeds = Mapping[str, np.ndarray]
"""One call of the graph: its inputs by name, as `export.edge.model.artifact` describes them."""


def half(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with the weights of its layers in float16, cast to float32 where they are used.

    It calculates in float32. onnxruntime casts constants once, when it opens the file, so that a call takes as long as
    with float32 weights. Calculating in float16 takes longer on processors, which widen each value and round it again.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    layers = {node.input[1] for node in made.graph.node if node.op_type in LAYERS}
    casts = []
    for tensor in made.graph.initializer:
        if tensor.name in layers and tensor.data_type == onnx.TensorProto.FLOAT:
            name, values = tensor.name, numpy_helper.to_array(tensor)
            most = np.finfo(np.float16).max
            tensor.CopyFrom(numpy_helper.from_array(values.clip(-most, most).astype(np.float16), f"{name}_half"))
            casts.append(
                onnx.helper.make_node("Cast", [tensor.name], [name], f"{name}_cast", to=onnx.TensorProto.FLOAT)
            )
    nodes = [*casts, *made.graph.node]
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    return made


def int8(model: onnx.ModelProto, feeds: Sequence[Feeds], kept: Collection[str]) -> onnx.ModelProto:
    """The graph with the layers except `kept` (names of modules, as torch calls them) in 8 bits, as static QDQ.

    `feeds` show which values occur. Weights are signed with a scale for each channel and use 7 of the 8 bits,
    activations unsigned: so no pair of products overflows the 16 bits in which AVX2 sums them.
    """
    held = {tensor.name for tensor in model.graph.initializer}
    layers = [node for node in model.graph.node if node.op_type in LAYERS and node.input[1] in held]
    chosen = [node.name for node in layers if layer_name(node) not in kept]
    with quiet(), tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source.onnx", Path(folder) / "target.onnx"
        onnx.save(model, source)
        quantize_static(
            source,
            target,
            _Reader(feeds),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(LAYERS),
            nodes_to_quantize=chosen,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        return onnx.load(target)


def layer_name(node: onnx.NodeProto) -> str:
    """What torch calls the module whose weights a node holds: the exporter keeps the names of its parameters."""
    return node.input[1].removesuffix(".weight")


class _Reader(CalibrationDataReader):
    def __init__(self, feeds: Sequence[Feeds]) -> None:
        self._left = iter(feeds)

    def get_next(self) -> dict[str, np.ndarray] | None:  # type: ignore[override]
        feed = next(self._left, None)
        return None if feed is None else dict(feed)


def finished(made: onnx.ModelProto, model: onnx.ModelProto, variant: str) -> onnx.ModelProto:
    """Checked, with the names and the metadata of the `model` it was made of, and the variant's name."""
    strip(made)
    made.doc_string = model.doc_string
    made.producer_name, made.producer_version = model.producer_name, model.producer_version
    del made.metadata_props[:]
    held = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(made, held | {"precision": variant})
    for found, wanted in ((made.graph.input, model.graph.input), (made.graph.output, model.graph.output)):
        for value, original in zip(found, wanted, strict=True):
            value.CopyFrom(original)
    onnx.checker.check_model(made, full_check=True)
    return made
