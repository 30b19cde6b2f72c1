"""A real, tiny ONNX denoiser, sealed as export.to_onnx seals its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.edge.model import sealed
from export.edge.sampling.table import Plan
from export.edge.sampling.tables import write_tables
from tests.schedule import cosine_schedule

MakeModel = Callable[..., Path]


def metadata(**changes: str) -> dict[str, str]:
    entries = {
        "format": "dawn2dusk",
        "format_version": "1",
        "alphas_cumprod": json.dumps(cosine_schedule(100).tolist()),
        "prediction": "x0",
        "clamp": "1.0",
        "size": "32",
        "size_multiple": "8",
        "fit": "crop",
        "value_range": "[-1, 1]",
        "steps": "4",
        "sampler": "ddim",
        "weights_digest": 64 * "a",
        "config": "{}",
        "file_digest": sealed.UNSEALED,
    }
    return entries | changes


def bridge(steps: int = 4, total: int = 100) -> Plan:
    """A walk from the guiding picture to x0 that needs no noise: x_t = cond + (1 - t / (T - 1)) (x0 - cond)."""
    t = np.linspace(total - 1, 0, steps + 1)[:-1].round()
    after = np.append(t[1:], 0) / (total - 1)
    columns = {"t": t, "x0_from_output": np.ones(steps), "next_from_x0": 1 - after, "next_from_start": after}
    return Plan.from_columns(columns | {"start_from_source": 1.0, "start_from_noise": 0.0})


def slider(total: int = 200) -> Plan:
    """One call, from nothing; its timestep is T - 1 for realism 0 and half of that for realism 1."""
    columns = {"t": [total // 2 - 1], "mean_t": [total - 1], "x0_from_output": [1.0], "next_from_x0": [1.0]}
    return Plan.from_columns(columns | {"start_from_noise": 0.0})


SLIDER: dict[str, str | None] = {
    "tables": write_tables({"one": {1: slider()}}),
    "alphas_cumprod": None,
    "sampler": "one",
    "steps": "1",
}
"""Metadata of a model with a slider."""


def graph(gain: float = 1.0, cond_channels: int = 3) -> onnx.ModelProto:
    """prediction = tanh(conv3x3(x_t, cond) + t / 1000), every size dynamic; `gain` multiplies the kernel."""
    kernel = np.random.default_rng(0).normal(0, 0.05, (3, 3 + cond_channels, 3, 3)).astype(np.float32)
    kernel[:, 3:6, 1, 1] += np.roll(np.eye(3, dtype=np.float32), 1, axis=1)
    picture = ["batch", 3, "height", "width"]
    nodes = [
        helper.make_node("Concat", ["x_t", "cond"], ["both"], axis=1),
        helper.make_node("Conv", ["both", "kernel"], ["mixed"], pads=[1, 1, 1, 1]),
        helper.make_node("Cast", ["t"], ["t_float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["t_float", "scale"], ["time"]),
        helper.make_node("Reshape", ["time", "shape"], ["time4"]),
        helper.make_node("Add", ["mixed", "time4"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["prediction"]),
    ]
    constants = {
        "kernel": kernel * np.float32(gain),
        "scale": np.array(1e-3, np.float32),
        "shape": np.array([-1, 1, 1, 1], np.int64),
    }
    body = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info("x_t", TensorProto.FLOAT, picture),
            helper.make_tensor_value_info("cond", TensorProto.FLOAT, ["batch", cond_channels, "height", "width"]),
            helper.make_tensor_value_info("t", TensorProto.INT64, ["batch"]),
        ],
        [helper.make_tensor_value_info("prediction", TensorProto.FLOAT, picture)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def make_model(tmp_path: Path) -> MakeModel:
    """make_model(gain=1.0, rename=("", ""), seal=True, **metadata) -> path of a model file.

    `gain` multiplies the kernel; `rename` gives an input or output of the graph another
    name; metadata of None is left out. With coordinates="true" cond has five channels.
    """

    def make(gain: float = 1.0, rename: tuple[str, str] = ("", ""), seal: bool = True, **changes: str | None) -> Path:
        proto = graph(gain, 5 if changes.get("coordinates") == "true" else 3)
        for value in [*proto.graph.input, *proto.graph.output]:
            if value.name == rename[0]:
                value.name = rename[1]
        for node in proto.graph.node:
            node.input[:] = [rename[1] if name == rename[0] else name for name in node.input]
            node.output[:] = [rename[1] if name == rename[0] else name for name in node.output]
        entries = {key: value for key, value in (metadata() | changes).items() if value is not None}
        helper.set_model_props(proto, entries)
        path = tmp_path / "model.onnx"
        path.write_bytes(proto.SerializeToString())
        if seal:
            sealed.seal(path)
        return path

    return make


@pytest.fixture
def no_more_threads() -> Iterator[None]:
    """The system has no room for the stack of one: half of all addresses there are."""
    before = threading.stack_size(2**47)
    yield
    threading.stack_size(before)
