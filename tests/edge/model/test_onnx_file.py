"""A model file is one file: seen in the wire format, beside what onnx writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from export.edge.errors import UserError
from export.edge.model.onnx_file import check_self_contained, fields, onnx_versions

PATH = Path("model.onnx")


def model(*nodes: onnx.NodeProto, tensors: tuple[onnx.TensorProto, ...] = ()) -> onnx.ModelProto:
    return helper.make_model(helper.make_graph([*nodes], "g", [], [], [*tensors]))


def outside() -> onnx.TensorProto:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


def in_branch(tensor: onnx.TensorProto) -> onnx.ModelProto:
    inner = helper.make_graph([], "inner", [], [], [tensor])
    return model(helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner))


def in_function(tensor: onnx.TensorProto) -> onnx.ModelProto:
    made = model()
    node = helper.make_node("Constant", [], ["y"], value=tensor)
    made.functions.append(helper.make_function("own", "F", [], ["y"], [node], [helper.make_opsetid("", 17)]))
    return made


@pytest.mark.parametrize(
    "place",
    [
        lambda tensor: model(tensors=(tensor,)),
        lambda tensor: model(helper.make_node("Constant", [], ["y"], value=tensor)),
        in_branch,
        in_function,
    ],
)
def test_weights_in_another_file_are_found_wherever_they_are(
    place: Callable[[onnx.TensorProto], onnx.ModelProto],
) -> None:
    whole = numpy_helper.from_array(np.zeros(4, np.float32), "w")
    check_self_contained(place(whole).SerializeToString(), PATH)
    with pytest.raises(UserError, match="has weights in another file"):
        check_self_contained(place(outside()).SerializeToString(), PATH)


@given(st.binary(max_size=60))
def test_other_bytes_are_no_onnx_file(data: bytes) -> None:
    try:
        parsed = onnx.ModelProto.FromString(data)
    except Exception:
        parsed = None
    try:
        check_self_contained(data, PATH)
    except UserError:
        return
    # What the reader takes, protobuf takes too.
    assert parsed is not None and parsed.HasField("graph")


@pytest.mark.parametrize(
    "hidden",
    [b"\x0b", b"\x08", b"\xff" * 11, b"\x42\x7f\x10", b"\x00\x00", b"\x82\x80\x80\x80\x20\x00"],
    ids=["group", "no value", "endless number", "past the end", "field 0", "field over 2^29"],
)
def test_what_cannot_be_read_to_its_end_is_refused(hidden: bytes) -> None:
    """Behind bytes that this reader took for the end another might find more."""
    data = model().SerializeToString()
    with pytest.raises(ValueError, match=r"field|number"):
        list(fields(memoryview(hidden + data)))
    with pytest.raises(UserError, match="no whole ONNX file"):
        check_self_contained(hidden + data, PATH)


def test_a_model_without_versions() -> None:
    assert onnx_versions(b"") == (0, 0)
