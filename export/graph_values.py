"""Arithmetic on the tensors of an ONNX graph under construction, written as in numpy.

    height = constant(nodes, np.array(3)) * 2 + 1

adds two nodes. Every operation gives a new `Value`; a plain number or an array at its other side becomes a constant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from export.graph_nodes import Nodes

Kind = type[np.generic]


@dataclass(frozen=True)
class Value:
    """A tensor by its name."""

    nodes: Nodes
    """The graph in which what is computed with it is put: its own, or one inside that."""
    name: str
    kind: Kind
    """Of its elements: np.float32, np.float64, np.int64, np.uint8 or np.bool_."""

    def inside(self, nodes: Nodes) -> Value:
        """The same tensor as seen from a graph inside its own."""
        return replace(self, nodes=nodes)

    def call(self, operator: str, *others: Value | float | np.ndarray, kind: Kind | None = None, **given: Any) -> Value:
        """An operator on it and others, which become constants of its kind where they are numbers."""
        names = [other.name if isinstance(other, Value) else self.like(other).name for other in others]
        return Value(self.nodes, self.nodes.add(operator, self.name, *names, **given), kind or self.kind)

    def like(self, number: float | np.ndarray) -> Value:
        """A constant of its kind."""
        return constant(self.nodes, np.asarray(number, self.kind))

    def __add__(self, other: Value | float) -> Value:
        return self.call("Add", other)

    def __sub__(self, other: Value | float) -> Value:
        return self.call("Sub", other)

    def __mul__(self, other: Value | float | np.ndarray) -> Value:
        return self.call("Mul", other)

    def __truediv__(self, other: Value | float) -> Value:
        return self.call("Div", other)

    def __floordiv__(self, other: Value | float) -> Value:
        """Of whole numbers, neither of them negative."""
        return self.call("Div", other)

    def __lt__(self, other: Value | float) -> Value:
        return self.call("Less", other, kind=np.bool_)

    def __getitem__(self, place: int | Value) -> Value:
        """The entry, or those at the places that a vector lists, along the first axis."""
        chosen = place if isinstance(place, Value) else constant(self.nodes, np.array(place, np.int64))
        return self.call("Gather", chosen, axis=0)

    def min(self, other: Value | float) -> Value:
        return self.call("Min", other)

    def max(self, other: Value | float) -> Value:
        return self.call("Max", other)

    def clip(self, low: Value | float, high: Value | float) -> Value:
        return self.max(low).min(high)

    def to(self, kind: Kind) -> Value:
        """Cast; towards zero where whole numbers are made of others."""
        if kind is self.kind:
            return self
        return self.call("Cast", kind=kind, to=helper.np_dtype_to_tensor_dtype(np.dtype(kind)))

    def floor(self) -> Value:
        return self.call("Floor")

    def shape(self) -> Value:
        return self.call("Shape", kind=np.int64)

    def reshape(self, *sides: Value | int) -> Value:
        return self.call("Reshape", vector(self.nodes, *sides))

    def transpose(self, *axes: int) -> Value:
        return self.call("Transpose", perm=list(axes))

    def matmul(self, other: Value) -> Value:
        return self.call("MatMul", other)

    def total(self, axis: int) -> Value:
        """The sum along an axis, which is gone."""
        return self.call("ReduceSum", vector(self.nodes, axis), keepdims=0)

    def part(self, first: Value | int, end: Value | int, axis: int) -> Value:
        """What lies from `first` to before `end` along an axis."""
        return self.call("Slice", *(vector(self.nodes, bound) for bound in (first, end, axis)))


def constant(nodes: Nodes, value: np.ndarray) -> Value:
    """An array as a constant of a graph."""
    return Value(nodes, nodes.constant(f"constant_{len(nodes.constants)}", value), value.dtype.type)


def vector(nodes: Nodes, *entries: Value | int) -> Value:
    """Whole numbers, one after the other, as int64 (entries,)."""
    if not any(isinstance(entry, Value) for entry in entries):
        return constant(nodes, np.array(entries, np.int64))
    parts = [e.reshape(1) if isinstance(e, Value) else constant(nodes, np.array([e], np.int64)) for e in entries]
    return parts[0].call("Concat", *parts[1:], axis=0)


def counted(count: Value) -> Value:
    """0 ... count - 1, int64."""
    zero, one = count.like(0), count.like(1)
    return Value(count.nodes, count.nodes.add("Range", zero.name, count.name, one.name), np.int64)


def joined(axis: int, *parts: Value) -> Value:
    return parts[0].call("Concat", *parts[1:], axis=axis)


def looped(outer: Nodes, name: str, turns: Value, make: Callable[[Value], Value]) -> Value:
    """What `make(number of the turn)` gives, put together along a new first axis; each turn in memory of its own.

    `make` uses what is outside by `Value.inside` of the graph of its argument. The shape must be that of every turn.
    """
    body = Nodes(prefix=f"{outer.prefix}{name}.")
    number, go_on = body.prefix + "number", body.prefix + "go_on"
    made = make(Value(body, number, np.int64))
    still = body.add("Identity", go_on)
    graph = helper.make_graph(
        body.nodes,
        name,
        [
            helper.make_tensor_value_info(number, TensorProto.INT64, []),
            helper.make_tensor_value_info(go_on, TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info(still, TensorProto.BOOL, []), _info(made)],
        body.constants,
    )
    always = constant(outer, np.array(True))
    return Value(outer, outer.add("Loop", turns.name, always.name, body=graph), made.kind)


def chosen(condition: Value, yes: Callable[[Nodes], Value], no: Callable[[Nodes], Value], name: str) -> Value:
    """What one of two functions puts into a graph of its own; only that one is run."""
    outer, branches = condition.nodes, []
    for key, make in (("then", yes), ("else", no)):
        inner = Nodes(prefix=f"{outer.prefix}{name}.{key}.")
        made = make(inner)
        branches.append((helper.make_graph(inner.nodes, key, [], [_info(made)], inner.constants), made.kind))
    (then, kind), (other, _) = branches
    return Value(outer, outer.add("If", condition.name, then_branch=then, else_branch=other), kind)


def _info(value: Value) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(value.name, helper.np_dtype_to_tensor_dtype(np.dtype(value.kind)), None)
