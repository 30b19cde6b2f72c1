"""Graphs of a few nodes, opened, and painted photos of many shapes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
import onnx
import onnxruntime
from onnx import helper

from export.graph_nodes import Nodes
from export.graph_values import Value
from export.probes import paint_probe

SHAPES = [
    *((24, 24), (64, 64), (37, 101), (101, 37), (129, 127), (150, 149), (240, 320), (511, 513)),
    *((1, 1), (2, 3), (1, 900), (900, 1), (600, 150), (48, 601), (25, 23), (333, 777)),
]
"""Height and width: smaller and larger than a model's size, square and not, very thin, and of few pixels."""


def photo(height: int, width: int) -> np.ndarray:
    """A part of a painted scene, uint8 (height, width, 3)."""
    scene = np.tile(_scene(), (1 + height // 320, 1 + width // 320, 1))
    return np.ascontiguousarray(np.roll(scene, (-140, -60), (0, 1))[:height, :width])


@cache
def _scene() -> np.ndarray:
    return paint_probe(3, 320)


def opened(nodes: Nodes, inputs: Mapping[str, Value], outputs: Mapping[str, Value]) -> onnxruntime.InferenceSession:
    """A session of nodes, as runtimes of opset 18 run them."""

    def info(name: str, value: Value) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(value.kind)), None)

    for name, value in outputs.items():
        nodes.add("Identity", value.name, output=name)
    infos = [[info(*pair) for pair in values.items()] for values in (inputs, outputs)]
    graph = helper.make_graph(nodes.nodes, "test", *infos, nodes.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
