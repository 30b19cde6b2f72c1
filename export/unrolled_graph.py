"""The sampling loop turn by turn: the graph of `export.sampler_graph` without Loop, for engines that lack it.

Input and output are those of sampler.onnx, for one picture at a time. All that depends on the turn alone is computed
here: the timestep, what the network makes of it, and the coefficients. So no whole numbers go in, and terms that a turn
multiplies by zero are gone. With a slider the timestep follows the input `realism`, and is computed in the graph. The
weights are there once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from export.edge.model import sealed
from export.graph_nodes import renamed

DESCRIPTION = (
    "The sampling loop turn by turn, without the operator Loop. Inputs, float32: cond (1, 3, height, width), the input "
    "picture in [-1, 1]; noise, standard normal, of cond's shape or that of the codec's states; of a model with a "
    "slider also realism, (1), from 0 to 1. Output: picture, float32, of cond's shape, in [0, 1]."
)
"""The file's doc_string."""


def build(sampler: onnx.ModelProto) -> onnx.ModelProto:
    """The checked graph without the Loop of one by `export.sampler_graph`, its digest still to be filled in."""
    graph = sampler.graph
    place = next(i for i, node in enumerate(graph.node) if node.op_type == "Loop")
    loop = graph.node[place]
    body = helper.get_node_attr_value(loop, "body")
    turns = int(next(numpy_helper.to_array(one) for one in graph.initializer if one.name == loop.input[0]))
    flat = _Flat({one.name: one for one in (*graph.initializer, *body.initializer)}, sampler.opset_import)
    flat.extend(graph.node[:place])
    number, _, *names = (value.name for value in body.input)
    states: Sequence[str] = loop.input[2:]
    for turn in range(turns):
        own = f"turn{turn}."
        flat.known[own + number] = np.array(turn, np.int64)
        inner = {name: own + name for node in body.node for name in node.output}
        inner |= {number: own + number, **dict(zip(names, states, strict=True))}
        flat.extend(_in_turn(node, inner, own) for node in body.node)
        states = [inner[value.name] for value in body.output[1:]]
    after = dict(zip(loop.output, states, strict=True))
    flat.extend(renamed(node, after) for node in graph.node[place + 1 :])
    nodes, constants = flat.needed([value.name for value in graph.output])
    inputs = [_single(value) for value in graph.input]
    outputs = [_single(value) for value in graph.output]
    made = helper.make_model(
        helper.make_graph(nodes, "sampler", inputs, outputs, constants),
        opset_imports=sampler.opset_import,
        ir_version=sampler.ir_version,
    )
    made.doc_string = DESCRIPTION
    held = {entry.key: entry.value for entry in sampler.metadata_props}
    helper.set_model_props(made, held | {"file_digest": sealed.UNSEALED})
    onnx.checker.check_model(made, full_check=True)
    return made


def _in_turn(node: onnx.NodeProto, names: Mapping[str, str], own: str) -> onnx.NodeProto:
    """The node of a turn, with a name that no other has, where it has one: onnxruntime asks for that."""
    twin = renamed(node, names)
    twin.name = own + node.name if node.name else ""
    return twin


def _single(value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    """A picture or a state, of a batch of one."""
    twin = onnx.ValueInfoProto()
    twin.CopyFrom(value)
    first = twin.type.tensor_type.shape.dim[0]
    if first.dim_param == "batch":
        first.dim_value = 1
    return twin


@dataclass
class _Flat:
    """Nodes in their order, simplified by what is known of a turn."""

    weights: Mapping[str, onnx.TensorProto]
    """Constants of the graph, by name."""
    opsets: Sequence[onnx.OperatorSetIdProto]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    known: dict[str, np.ndarray] = field(default_factory=dict)
    """What depends on the turn alone."""
    same: dict[str, str] = field(default_factory=dict)
    """Values that are others under another name."""
    zeros: dict[str, onnx.NodeProto] = field(default_factory=dict)
    """Products with zero, each with the node that makes it, which nothing has needed so far."""

    def extend(self, nodes: Iterable[onnx.NodeProto]) -> None:
        for node in nodes:
            self._add(renamed(node, {name: self.same.get(name, name) for name in node.input}))

    def _add(self, node: onnx.NodeProto) -> None:
        inputs, output = list(node.input), node.output[0]
        fixed = [name for name in inputs if name in self.known or name in self.weights]
        if node.op_type == "Expand" and inputs[0] in fixed and self._is_timestep(inputs[0]):
            self.known[output] = self._array(inputs[0])  # To the batch, which is one.
        elif len(fixed) == len(inputs) and any(name in self.known for name in inputs):
            self.known |= self._computed(node)
        elif node.op_type == "Identity":
            self.same[output] = inputs[0]
        elif node.op_type == "Mul" and (factors := self._by_zero_or_one(inputs)) is not None:
            if factors[0] == 0.0:
                self.zeros[output] = node
            else:
                self.same[output] = factors[1]
        elif node.op_type == "Add" and any(name in self.zeros for name in inputs):
            self.same[output] = inputs[inputs[0] in self.zeros]
        else:
            self._keep(node)

    def _keep(self, node: onnx.NodeProto) -> None:
        for name in node.input:
            if name in self.zeros:
                self._keep(self.zeros.pop(name))
        self.nodes.append(node)

    def _is_timestep(self, name: str) -> bool:
        array = self._array(name)
        return array.dtype == np.int64 and array.size == 1

    def _by_zero_or_one(self, inputs: Sequence[str]) -> tuple[float, str] | None:
        """Of a product: the factor 0 or 1 that the turn gives, and the name of the other."""
        for name, other in zip(inputs, reversed(inputs), strict=True):
            array = self.known.get(name)
            if array is not None and array.ndim == 0 and array.item() in (0.0, 1.0):
                return array.item(), other
        return None

    def _array(self, name: str) -> np.ndarray:
        return self.known[name] if name in self.known else numpy_helper.to_array(self.weights[name])

    def _computed(self, node: onnx.NodeProto) -> dict[str, np.ndarray]:
        """The outputs of a node whose inputs are known, by the evaluator of the onnx package."""
        inputs, results = (
            [helper.make_empty_tensor_value_info(name) for name in names] for names in (node.input, node.output)
        )
        model = helper.make_model(helper.make_graph([node], "known", inputs, results), opset_imports=self.opsets)
        outputs = ReferenceEvaluator(model).run(None, {name: self._array(name) for name in node.input})
        return {name: np.asarray(value) for name, value in zip(node.output, outputs, strict=True)}

    def needed(self, outputs: Sequence[str]) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
        """The nodes on which the outputs depend, and the constants that these read."""
        wanted, nodes = set(outputs), []
        for node in reversed(self.nodes):
            if wanted.intersection(node.output):
                nodes.append(node)
                wanted.update(node.input)
        known = [numpy_helper.from_array(array, name) for name, array in self.known.items() if name in wanted]
        return nodes[::-1], [*known, *(tensor for name, tensor in self.weights.items() if name in wanted)]
