"""Pieces of ONNX graphs: nodes under construction, and what the sampling loop computes with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

OWN = "sampler."
"""What our names begin with: torch's never do."""


@dataclass
class Nodes:
    """Nodes and constants of a graph under construction."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    prefix: str = OWN

    def constant(self, name: str, value: np.ndarray) -> str:
        """The name under which `value` can be used."""
        self.constants.append(numpy_helper.from_array(value, self.prefix + name))
        return self.prefix + name

    def add_many(self, kind: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> list[str]:
        """A node of this kind; the names of its outputs."""
        names = [f"{self.prefix}{kind}_{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names

    def add(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """A node with one output; the output's name."""
        name = self.add_many(kind, inputs, 1, **attributes)[0]
        if output is not None:
            self.nodes[-1].output[0] = name = output
        return name


def renamed(node: onnx.NodeProto, names: Mapping[str, str]) -> onnx.NodeProto:
    """A copy of a node with other names of its inputs and outputs."""
    twin = onnx.NodeProto()
    twin.CopyFrom(node)
    twin.input[:] = [names.get(name, name) for name in node.input]
    twin.output[:] = [names.get(name, name) for name in node.output]
    return twin


def embedded(
    nodes: Nodes, graph: onnx.GraphProto, name: str, inputs: Mapping[str, str], *, own_weights: bool = True
) -> str:
    """Put a copy of a graph of one output among the nodes; the name of its output.

    `inputs`: what is here its inputs, by their names; `own_weights`: whether its initializers come along, under names
    of their own, or are here already.
    """
    prefix = f"{nodes.prefix}{name}."
    twin = compose.add_prefix_graph(graph, prefix, rename_initializers=own_weights)
    for value in graph.input:
        nodes.add("Identity", inputs[value.name], output=prefix + value.name)
    nodes.nodes.extend(twin.node)
    if own_weights:
        nodes.constants.extend(twin.initializer)
    return twin.output[0].name


def bounded(body: Nodes, x0_raw: str, clamp: float | None, threshold: float) -> str:
    """`export.edge.sampling.loop.bounded`."""
    if clamp is None:
        return x0_raw
    most = body.constant("most", np.array(clamp, np.float32))
    if threshold == 0.0:
        return body.add("Clip", x0_raw, body.constant("least", np.array(-clamp, np.float32)), most)
    s = body.add("Max", _quantile(body, body.add("Abs", x0_raw), threshold), most)
    cut = body.add("Max", body.add("Min", x0_raw, s), body.add("Neg", s))
    return body.add("Mul", cut, body.add("Div", most, s))


def _quantile(body: Nodes, values: str, share: float) -> str:
    """The quantile of each picture, linear between its neighbours: (batch, 1, 1, 1).

    It lies at place share * (count - 1) of the rising order, so among the count - floor(place) largest.
    """
    flat = body.add("Flatten", values, axis=1)
    one = body.constant("one", np.array([1], np.int64))
    two = body.constant("two", np.array([2], np.int64))
    count = body.add("Slice", body.add("Shape", flat), one, two)
    last = body.add("Cast", body.add("Sub", count, one), to=TensorProto.DOUBLE)
    place = body.add("Mul", last, body.constant("share", np.array([share], np.float64)))
    below = body.add("Floor", place)
    largest = body.add("Sub", count, body.add("Cast", below, to=TensorProto.INT64))
    top, _ = body.add_many("TopK", [flat, largest], 2, axis=1, largest=1, sorted=1)
    low_place = body.add("Sub", largest, one)
    zero = body.constant("zero", np.array([0], np.int64))
    high_place = body.add("Max", body.add("Sub", low_place, one), zero)
    low, high = (body.add("Gather", top, index, axis=1) for index in (low_place, high_place))
    part = body.add("Cast", body.add("Sub", place, below), to=TensorProto.FLOAT)
    found = body.add("Add", low, body.add("Mul", body.add("Sub", high, low), part))
    return body.add("Unsqueeze", found, body.constant("last_axes", np.array([2, 3], np.int64)))
