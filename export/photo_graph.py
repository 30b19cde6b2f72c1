"""From a photo to its translation as one ONNX graph: what `export.edge` does with a model as it recommends.

`export.edge.model.photo` says what goes in and out. The graph brings the photo to the model's size, runs the loop of
`export.sampler_graph`, and carries the result to the photo's own pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.edge.model import sealed
from export.edge.model.codec import Codec, read_codec
from export.edge.model.photo import FORMAT, FORMAT_VERSION, INPUTS, OUTPUTS, REALISM
from export.edge.pictures.arrays import MOST_WORKING, working_sides
from export.edge.sampling.noise import start_noise
from export.graph_nodes import Nodes, renamed
from export.graph_values import Value, chosen, constant, joined, vector
from export.resize_nodes import Extent, Plan, Sides, planned, resized, working
from export.transfer_nodes import applied, change_of_colour

REDUCTION = "lanczos3 after block means"
"""How the graph brings a photo to the model's size, for its metadata."""
DESCRIPTION = (
    "From a photo to its translation. Inputs: photo, uint8 (height, width, 3), RGB, upright, of any size; noise, "
    "float32 (n), n = 0 for the picture of seed 0, or at least as many standard normal numbers as the sampler's "
    "state has, in the order rows, columns, channels; of a model with a slider also realism, float32 (1), from 0, the "
    "mean picture, to 1, the sharpest. Output: picture, uint8 (height, width, 3), of the photo's size."
)
"""The file's doc_string."""


@dataclass(frozen=True)
class Settings:
    """What the graph must know of the model."""

    size: int
    multiple: int
    fit: str
    codec: Codec
    half: bool
    """Whether the noise of seed 0 is held in float16."""
    noisy: bool
    """Whether the sampler reads more of the noise than its shape."""


def build(sampler: onnx.ModelProto, *, half: bool = False) -> onnx.ModelProto:
    """The checked graph around one of `export.sampler_graph`, its digest still to be filled in."""
    held = {entry.key: entry.value for entry in sampler.metadata_props}
    noisy = any("noise" in node.input for node in sampler.graph.node if node.op_type != "Shape")
    codec, fit = read_codec(held["codec"], "codec"), held["fit"]
    settings = Settings(int(held["size"]), int(held["size_multiple"]), fit, codec, half, noisy)
    outer = Nodes(prefix="photo.")
    photo = Value(outer, "photo", np.uint8)
    sides = photo.shape().max(1)  # One without pixels fails where its first row is read, not in a division.
    own = Sides(sides[0], sides[1])
    plan = planned(own, settings.size, fit, settings.multiple)
    inner = working(photo, own, plan, fit)
    network = ((inner.to(np.float32) - 127.5) / 127.5).transpose(2, 0, 1).call("Unsqueeze", vector(outer, 0))
    outer.add("Identity", network.name, output="cond")
    noise = _noise(outer, plan.working, settings)
    for node in sampler.graph.node:
        outer.nodes.append(renamed(node, {"noise": noise.name, "picture": "photo.drawn"}))
    outer.constants.extend(sampler.graph.initializer)
    drawn = Value(outer, "photo.drawn", np.float32).call("Squeeze", vector(outer, 0))
    _placed(photo, own, plan, inner, drawn)
    slider = any(found.name in REALISM for found in sampler.graph.input)
    inputs = _infos(INPUTS | (REALISM if slider else {}))
    graph = helper.make_graph(outer.nodes, "photo", inputs, _infos(OUTPUTS), outer.constants)
    model = helper.make_model(graph, opset_imports=sampler.opset_import, ir_version=sampler.ir_version)
    facts = {"format": FORMAT, "format_version": FORMAT_VERSION, "reduction": REDUCTION, "detail": "transfer"}
    model.doc_string = DESCRIPTION
    del held["output_range"]
    helper.set_model_props(model, held | facts | {"file_digest": sealed.UNSEALED})
    onnx.checker.check_model(model, full_check=True)
    return model


def _noise(outer: Nodes, sides: Sides, settings: Settings) -> Value:
    """The start noise (1, channels, rows, columns). Fewer numbers than it takes, but not none, fail in the graph."""
    codec = settings.codec
    rows, columns = sides.height // codec.factor, sides.width // codec.factor
    if not settings.noisy:
        zero = numpy_helper.from_array(np.zeros(1, np.float32))
        shape = vector(outer, 1, codec.channels, rows, columns)
        return shape.call("ConstantOfShape", kind=np.float32, value=zero)
    count = rows * columns * codec.channels
    stored = start_noise(0, (_most_pixels(settings) // codec.factor**2 * codec.channels,))
    known = constant(outer, stored.astype(np.float16 if settings.half else np.float32)).to(np.float32)
    given = Value(outer, "noise", np.float32)
    there = given.shape()[0]
    usable = (there < 1).call("Where", count, there, kind=np.int64)
    flat = joined(0, given, known).part(0, count.min(usable), 0)
    return flat.reshape(1, rows, columns, codec.channels).transpose(0, 3, 1, 2)


def _most_pixels(settings: Settings) -> int:
    """Of the largest picture that the network sees."""
    size, multiple = settings.size, settings.multiple
    if settings.fit == "crop":
        return MOST_WORKING * max(size, multiple) ** 2
    return math.prod(working_sides(size, size, size, multiple, settings.fit))


def _placed(photo: Value, own: Sides, plan: Plan, inner: Value, drawn: Value) -> None:
    """`export.edge.detail.to_photo_size`, as the output of the graph.

    inner: levels (h, w, 3), what the network saw; drawn: what it made of that, in [0, 1], (3, h, w).
    """
    outer, small = photo.nodes, plan.covered
    if plan.top is not None and plan.left is not None:
        for axis, first, side in ((0, plan.top, small.height), (1, plan.left, small.width)):
            inner = inner.part(first, first + side, axis)
            drawn = drawn.part(first, first + side, axis + 1)

    def enlarged(nodes: Nodes) -> Value:
        levels = (drawn.inside(nodes) * 255.0 + 0.5).to(np.uint8).transpose(1, 2, 0)
        return resized(levels, Extent(small.inside(nodes)), own.inside(nodes))

    def transferred(nodes: Nodes) -> Value:
        guide = (inner.inside(nodes).transpose(2, 0, 1).to(np.float32) - 127.5) / 127.5
        change = change_of_colour(guide, drawn.inside(nodes) * 2.0 - 1.0)
        return applied(change, small.inside(nodes), photo.inside(nodes), own.inside(nodes))

    few = own.pixels() < small.pixels() + 1
    picture = chosen(few, enlarged, transferred, "placed")
    outer.add("Identity", picture.name, output="picture")


def _infos(values: dict[str, tuple[str, int]]) -> list[onnx.ValueInfoProto]:
    shapes = {1: ("numbers",), 3: ("height", "width", 3)}
    kinds = {"tensor(uint8)": TensorProto.UINT8, "tensor(float)": TensorProto.FLOAT}
    shaped = {name: (1,) if name in REALISM else shapes[rank] for name, (_, rank) in values.items()}
    return [helper.make_tensor_value_info(name, kinds[kind], shaped[name]) for name, (kind, _) in values.items()]
