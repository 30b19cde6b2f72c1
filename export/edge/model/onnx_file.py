"""An ONNX file looked at without the `onnx` package: protobuf's wire format, read just far enough to trust the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from export.edge.errors import UserError

_MOST_DEPTH = 16
_TENSOR = "tensor"
# Where tensors hide (onnx.proto): by kind of message, the fields that hold messages, and of which kind. Attributes,
# nodes and functions are walked because each may hold a tensor of its own.
_INSIDE: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: _TENSOR, 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: _TENSOR, 6: "graph", 10: _TENSOR, 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: _TENSOR, 2: _TENSOR},
    _TENSOR: {},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14


def check_self_contained(data: bytes, path: Path) -> None:
    """Raise UserError for what is no ONNX file, and for one any of whose tensors lies in another file."""
    try:
        whole = any(number == 7 for number, _ in fields(memoryview(data)))
        outside = _reaches_out(memoryview(data), "model", 0)
    except ValueError:
        whole = outside = False
    if not whole:
        raise UserError(f"model {path} is no whole ONNX file; export the model again")
    if outside:
        raise UserError(f"model {path} has weights in another file; export the model again, which writes one file")


def _reaches_out(message: memoryview, kind: str, depth: int) -> bool:
    if depth > _MOST_DEPTH:
        raise ValueError("nested too deeply")
    inside = _INSIDE[kind]
    for number, value in fields(message):
        if kind == _TENSOR:
            if number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0):
                return True
        elif number in inside and isinstance(value, memoryview) and _reaches_out(value, inside[number], depth + 1):
            return True
    return False


def onnx_versions(data: bytes) -> tuple[int, int]:
    """(IR version, opset) of an ONNX file: fields 1 and 8 of its ModelProto.

    onnxruntime does not tell them. An unknown one is 0. Raises ValueError as `fields` does.
    """
    ir_version = opset = 0
    for number, value in fields(memoryview(data)):
        if number == 1 and isinstance(value, int):
            ir_version = value
        elif number == 8 and isinstance(value, memoryview):
            imported = dict(fields(value))
            if imported.get(1, b"") in (b"", b"ai.onnx") and isinstance(version := imported.get(2), int):
                opset = version
    return ir_version, opset


def fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a protobuf message, as number and value.

    Raises ValueError where it makes no sense: what this reader passed over, another might find.
    """
    place = 0

    def varint() -> int:
        nonlocal place
        value = 0
        for shift in range(0, 70, 7):
            if place == len(data):
                break
            byte = data[place]
            place += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ValueError("a number without end")

    while place < len(data):
        number, kind = divmod(varint(), 8)
        if not 0 < number < 2**29 or kind not in (0, 1, 2, 5):
            raise ValueError(f"field {number} of kind {kind}")
        if kind == 0:
            yield number, varint()
            continue
        length = varint() if kind == 2 else {1: 8, 5: 4}[kind]
        if length > len(data) - place:
            raise ValueError("a field beyond the end")
        yield number, data[place : place + length]
        place += length
