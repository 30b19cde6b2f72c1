"""The whole way from noise to a picture as one ONNX graph: a `Loop` around the denoiser, for runtimes without our code.

Inputs, float32: `cond`, the input picture in [-1, 1], (batch, 3, height, width), height and width multiples of the
model's size_multiple; and `noise`, standard normal, of the same shape, or of that of a codec's state, (batch, channels,
height / factor, width / factor). It is in the start, or added after the first call where the start takes none; a
sampler without noise reads no more than the shape. A model with a slider has a third, `realism`, (1), from 0 to 1.
Output: `picture`, of cond's shape, in [0, 1]. The codec and the
network that the sampler starts from, if any, are in it. The timesteps and the coefficients of
`export.edge.sampling.table.Plan` are baked in as constants; every turn of the loop is one call of `iterate`, operation
for operation. The graph holds the weights once.

The noise that `export.edge` takes for a seed is `noise.normal(seed, 0, (batch, height, width, 3))`, with the channels
then moved to the second place.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.edge.errors import UserError
from export.edge.model import sealed
from export.edge.model.codec import DECODE, ENCODE, IDENTITY, PICTURE, STATE, Codec, read_codec
from export.edge.model.layout import DENOISER
from export.edge.model.words import WORDS
from export.edge.sampling.guidance import HIDDEN
from export.edge.sampling.table import COND, Plan, coefficients
from export.edge.sampling.tables import choose, read_tables
from export.graph_nodes import OWN, Nodes, bounded, embedded, renamed
from export.sampler_inputs import check_noise, placed, timesteps

FORMAT = "dawn2dusk-sampler"
FORMAT_VERSION = "1"
OUTPUT_RANGE = "[0, 1]"
Shape = tuple[str | int, ...]
PICTURES: Shape = ("batch", 3, "height", "width")
DESCRIPTION = (
    "The sampling loop. Inputs, float32: cond (batch, 3, height, width), the input picture in [-1, 1]; noise, standard "
    "normal, of cond's shape or that of the codec's states; of a model with a slider also realism, (1), from 0 to 1. "
    "Output: picture, float32, of cond's shape, in [0, 1]."
)
"""The file's doc_string."""


@dataclass(frozen=True)
class LoopSettings:
    """How the graph draws."""

    plan: Plan
    codec: Codec
    clamp: float | None
    """As in `export.edge.sampling.loop.bounded`."""
    threshold: float
    guidance: float
    """As in `export.edge.sampling.guidance`; any but 1 calls the network twice a turn."""
    placed: bool
    """Whether the network takes the place of each pixel."""

    @property
    def shape(self) -> Shape:
        """Of a state."""
        return PICTURES if self.codec.name == IDENTITY else ("batch", self.codec.channels, "rows", "columns")


def build(
    denoiser: onnx.ModelProto,
    steps: int | None = None,
    sampler: str | None = None,
    spacing: str | None = None,
    others: Mapping[str, onnx.ModelProto] | None = None,
) -> onnx.ModelProto:
    """The checked graph, its digest still to be filled in.

    `denoiser`: as `export.to_onnx.build_graph` makes it, from whose metadata comes all that is not given here; clamp,
    threshold and guidance are always its own. `others`: the graphs of the artifact's other networks and of its codec,
    by name. Raises UserError for steps outside 1 ... T, an unknown sampler or spacing, a graph that is not given, and a
    sampler that takes noise more than once: the graph has one input of noise.
    """
    held = {entry.key: entry.value for entry in denoiser.metadata_props}
    given = {"steps": steps, "sampler": sampler, "spacing": spacing}
    held |= {key: str(value) for key, value in given.items() if value is not None}
    plan, codec = _plan(held), read_codec(held.get("codec", Codec().to_json()), "codec")
    check_noise(held, plan)
    clamp, threshold, guidance = (json.loads(held[key]) for key in ("clamp", "threshold", "guidance"))
    settings = LoopSettings(plan, codec, clamp, threshold, guidance, held.get("coordinates") == "true")
    outer, graphs = Nodes(), dict(others or {})
    # A turn of the loop sees the names outside it.
    state, times = _encoded(outer, codec, graphs), timesteps(outer, plan)
    cond = placed(outer, state) if settings.placed else state
    zero = numpy_helper.from_array(np.zeros(1, np.float32))
    none = outer.add("ConstantOfShape", outer.add("Shape", "noise"), value=zero)
    weights = denoiser.graph.initializer
    source = state
    if plan.start_from_source != 0.0 and plan.source != COND:
        start_graph = _found(graphs | {DENOISER: denoiser}, plan.source)
        batch = outer.add("Gather", outer.add("Shape", "cond"), outer.constant("first", np.array([0], np.int64)))
        row = outer.add("Gather", times, outer.constant("first_row", np.array(0, np.int64)))
        feeds = {"x_t": none, "cond": cond, "t": outer.add("Expand", row, batch)}
        source = embedded(outer, start_graph, plan.source, feeds, own_weights=plan.source != DENOISER)
        if plan.source == DENOISER:  # In the graph once, where both see them.
            outer.constants.extend(weights)
            weights = []
    start = _start(outer, plan, source)
    added = outer.add("Identity", "noise") if plan.noise.any() else ""
    body = _body(denoiser.graph, weights, settings, {"cond": cond, "start": start, "noise": added, "times": times})
    turns, always = outer.constant("turns", np.array(len(plan), np.int64)), outer.constant("always", np.array(True))
    x, _ = outer.add_many("Loop", [turns, always, start, none], 2, body=body)
    _unit(outer, _decoded(outer, codec, graphs, x))
    inputs = [_picture("cond"), _picture("noise", settings.shape)]
    inputs += [] if plan.mean_t is None else [helper.make_tensor_value_info("realism", TensorProto.FLOAT, [1])]
    graph = helper.make_graph(outer.nodes, "sampler", inputs, [_picture("picture")], outer.constants)
    model = helper.make_model(graph, opset_imports=denoiser.opset_import, ir_version=denoiser.ir_version)
    model.doc_string = DESCRIPTION
    helper.set_model_props(model, _metadata(plan, held))
    onnx.checker.check_model(model, full_check=True)
    return model


def _plan(held: Mapping[str, str]) -> Plan:
    """The plan that the metadata of a denoiser name."""
    steps, sampler = int(held["steps"]), held["sampler"]
    if "tables" in held:
        return choose(read_tables(held["tables"]), sampler, steps)
    schedule = np.array(json.loads(held["alphas_cumprod"]))
    return coefficients(schedule, steps, sampler, prediction=held["prediction"], spacing=held["spacing"])


def _found(graphs: Mapping[str, onnx.ModelProto], name: str) -> onnx.GraphProto:
    if name not in graphs:
        raise UserError(f"the graph {name} is needed, and there is only {', '.join(graphs)}; export the bundle again")
    return graphs[name].graph


def _start(outer: Nodes, plan: Plan, source: str) -> str:
    """`export.edge.sampling.loop.start_state` from a source: the name of the state."""
    terms = []
    for what, share, name in (("source", plan.start_from_source, source), ("noise", plan.start_from_noise, "noise")):
        if share == 1.0:
            terms.append(name)
        elif share != 0.0:
            weight = outer.constant(f"start_from_{what}", np.array(share, np.float32))
            terms.append(outer.add("Mul", weight, name))
    if not terms:
        return outer.add("Sub", "noise", "noise")
    return terms[0] if len(terms) == 1 else outer.add("Add", *terms)


def _metadata(plan: Plan, held: Mapping[str, str]) -> dict[str, str]:
    """All there is to know beside the graph: what the denoiser's file `held`, without the schedule, and its own."""
    pictures = ("size", "size_multiple", "fit", "value_range")
    drawing = ("prediction", "clamp", "threshold", "guidance", "steps", "sampler", "spacing")
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **{key: held[key] for key in (*pictures, *drawing, "weights_digest", "config")},
        **{key: held[key] for key in WORDS if key in held},
        "timesteps": json.dumps(plan.t.tolist()),
        **({} if plan.mean_t is None else {"mean_timesteps": json.dumps(plan.mean_t.tolist())}),
        "codec": held.get("codec", Codec().to_json()),
        "output_range": OUTPUT_RANGE,
        "file_digest": sealed.UNSEALED,
    }


def _encoded(outer: Nodes, codec: Codec, graphs: Mapping[str, onnx.ModelProto]) -> str:
    """`Codec.encode` of cond: the name of the state."""
    encoded = "cond"
    if codec.name != IDENTITY:
        encoded = embedded(outer, _found(graphs, ENCODE), ENCODE, {PICTURE: encoded})
    return _by_statistics(outer, codec, encoded, ("Sub", "mean"), ("Div", "std"))


def _decoded(outer: Nodes, codec: Codec, graphs: Mapping[str, onnx.ModelProto], state: str) -> str:
    """`Codec.decode`: the name of the picture."""
    encoded = _by_statistics(outer, codec, state, ("Mul", "std"), ("Add", "mean"))
    if codec.name == IDENTITY:
        return encoded
    return embedded(outer, _found(graphs, DECODE), DECODE, {STATE: encoded})


def _by_statistics(outer: Nodes, codec: Codec, name: str, *operations: tuple[str, str]) -> str:
    """The name of the result of operations with the codec's mean and std."""
    if not any(codec.mean) and set(codec.std) == {1.0}:
        return name
    for kind, statistic in operations:
        row = np.array(getattr(codec, statistic), np.float32)[:, None, None]
        name = outer.add(kind, name, outer.constant(f"{statistic}_{kind}", row))
    return name


def _unit(outer: Nodes, picture: str) -> None:
    """A picture in [-1, 1] as the output, in [0, 1]."""
    half = outer.constant("half", np.array(0.5, np.float32))
    unit = outer.add("Add", outer.add("Mul", picture, half), half)
    limits = [outer.constant(name, np.array(value, np.float32)) for name, value in (("black", 0.0), ("white", 1.0))]
    outer.add("Clip", unit, *limits, output="picture")


def _body(
    denoiser: onnx.GraphProto, weights: Iterable[onnx.TensorProto], settings: LoopSettings, given: Mapping[str, str]
) -> onnx.GraphProto:
    """One turn: (number, go on, x_t, x0 of the turn before) to (go on, next x_t, x0).

    `weights`: the initializers of the denoiser, unless they are outside; `given`: the names outside of `cond`, the
    guiding picture that the network takes, `start`, the state at the beginning, `times`, the timesteps, and `noise`, if
    any is added.
    """
    plan = settings.plan
    body = Nodes(prefix=OWN + "turn.")
    turn, go_on, previous = (body.prefix + name for name in ("number", "go_on", "previous"))
    first = body.constant("first_axis", np.array([0], np.int64))
    second = body.constant("second_axis", np.array([1], np.int64))
    batch = body.add("Slice", body.add("Shape", "x_t"), first, second)
    body.add("Expand", body.add("Gather", given["times"], turn, axis=0), batch, output="t")
    for node in denoiser.node:
        body.nodes.append(renamed(node, {"cond": given["cond"]}))
    out = "prediction"
    if settings.guidance != 1.0:
        out = _guided(body, denoiser, settings, given["cond"])

    def row(name: str) -> str:
        column = body.constant(name, getattr(plan, name).astype(np.float32))
        return body.add("Gather", column, turn, axis=0)

    def weighted(total: str, terms: Mapping[str, str]) -> str:
        """The sum of `total` and the terms, each by its column; columns of zeros are left out."""
        for name, value in terms.items():
            if getattr(plan, name).any():
                total = body.add("Add", total, body.add("Mul", row(name), value))
        return total

    x0_raw = body.add("Mul", row("x0_from_output"), out)
    x0_raw = weighted(x0_raw, {"x0_from_x": "x_t", "x0_from_start": given["start"]})
    x0 = body.add("Identity", bounded(body, x0_raw, settings.clamp, settings.threshold))
    moved = body.add("Mul", row("next_from_x0"), x0)
    others = {"next_from_x": "x_t", "next_from_previous": previous, "next_from_start": given["start"]}
    after = body.add("Identity", weighted(moved, others | {"noise": given["noise"]}))
    still = body.add("Identity", go_on)
    return helper.make_graph(
        body.nodes,
        "turn",
        [
            helper.make_tensor_value_info(turn, TensorProto.INT64, []),
            helper.make_tensor_value_info(go_on, TensorProto.BOOL, []),
            *(_picture(name, settings.shape) for name in ("x_t", previous)),
        ],
        [
            helper.make_tensor_value_info(still, TensorProto.BOOL, []),
            *(_picture(name, settings.shape) for name in (after, x0)),
        ],
        [*body.constants, *weights],
    )


def _guided(body: Nodes, denoiser: onnx.GraphProto, settings: LoopSettings, cond: str) -> str:
    """A second call of the network, on a hidden guiding picture; the name of the guided output."""
    value = numpy_helper.from_array(np.array([HIDDEN], np.float32))
    picture = body.add("ConstantOfShape", body.add("Shape", "x_t"), value=value)
    if settings.placed:
        bounds = (body.constant(name, np.array([place], np.int64)) for name, place in (("3", 3), ("5", 5), ("1", 1)))
        picture = body.add("Concat", picture, body.add("Slice", cond, *bounds), axis=1)
    own = {name for node in denoiser.node for name in node.output}
    names = {name: f"{OWN}hidden.{name}" for name in own} | {"cond": picture}
    for node in denoiser.node:
        twin = renamed(node, names)
        twin.name = OWN + "hidden." + node.name
        body.nodes.append(twin)
    hidden = names["prediction"]
    change = body.add("Sub", "prediction", hidden)
    gain = body.constant("guidance", np.array(settings.guidance, np.float32))
    return body.add("Add", hidden, body.add("Mul", gain, change))


def _picture(name: str, shape: Shape = PICTURES) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
