"""The network as an ONNX graph, with all that a sampler needs in its metadata."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping

import onnx
import torch
from torch import Tensor, nn

from export.edge.errors import UserError
from export.edge.model import artifact, sealed
from export.edge.model.codec import STATE, of_settings
from export.edge.model.metadata import FORMAT, FORMAT_VERSION, LATER_KEYS, LIKENESS, VALUE_RANGE
from export.edge.model.words import NO_WORDS, Words
from export.edge.sampling.tables import timesteps_of, write_tables
from torch_ref.weights import Bundle

OPSET = 18
"""Old enough for every onnxruntime since 1.14, new enough for the exporter to write it directly."""


def build_graph(bundle: Bundle, words: Words = NO_WORDS) -> onnx.ModelProto:
    """The network as a checked ONNX model with metadata, its digest still to be filled in.

    Batch, height and width are free, height and width in multiples of the network's
    size_multiple; BatchNorm is folded into the convolutions. Coordinates, where the network
    takes them, are given: it then takes a cond of 5 channels.
    """
    model = copy.deepcopy(bundle.model).cpu().float().eval()
    cond = torch.zeros(2, model.cond_channels, 2 * model.size_multiple, 3 * model.size_multiple)
    examples = (cond[:, : model.channels].clone(), cond, torch.zeros(2, dtype=torch.int64))
    graph = trace(model, dict(zip(artifact.INPUTS, examples, strict=True)), "prediction", model.size_multiple)
    return completed(graph, metadata(bundle) | words.entries(), described(bundle, model.channels, model.cond_channels))


def described(bundle: Bundle, channels: int, cond_channels: int) -> str:
    """The file's doc_string: what goes in and out."""
    schedule = bundle.alphas_cumprod
    last = (len(schedule) if schedule is not None else timesteps_of(bundle.tables or {})) - 1
    prediction = bundle.config["diffusion"]["prediction"]
    place = "" if cond_channels == channels else "; its last two channels are the place of each pixel"
    return (
        f"One call of the network. Inputs: x_t, float32 (batch, {channels}, height, width), the noised state; cond, "
        f"float32 (batch, {cond_channels}, height, width), the input picture in [-1, 1] or its state{place}; t, int64 "
        f"(batch), the timestep, 0 to {last}, larger is noisier. Output: prediction, float32, of x_t's shape: "
        f"{prediction}. Height and width are multiples of {bundle.model.size_multiple}."
    )


def metadata(bundle: Bundle) -> dict[str, str]:
    """All that a sampler needs in addition to the graph: METADATA_KEYS, LATER_KEYS and, where the
    bundle has it, LIKENESS of `export.edge.model.metadata`.

    Raises UserError when the bundle's config lacks one of the settings; older bundles lack
    the later ones.
    """
    if bundle.alphas_cumprod is not None:
        process = {"alphas_cumprod": json.dumps(bundle.alphas_cumprod.tolist())}
    else:
        process = {"tables": write_tables(bundle.tables or {})}
    try:
        codec = of_settings(bundle.config.get("codec", {}))
        data, diffusion, model = (bundle.config[section] for section in ("data", "diffusion", "model"))
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            **process,
            "prediction": str(diffusion["prediction"]),
            "clamp": json.dumps(diffusion["clamp"]),
            "threshold": json.dumps(diffusion.get("threshold", 0)),
            "guidance": json.dumps(diffusion.get("guidance", 1)),
            "cond_dropout": json.dumps(diffusion.get("cond_dropout", 0)),
            "coordinates": json.dumps(bundle.model.cond_channels > bundle.model.channels),
            "size": str(data["size"]),
            "size_multiple": str(bundle.model.size_multiple * codec.factor),
            "codec": codec.to_json(),
            "fit": str(data["fit"]),
            "value_range": VALUE_RANGE,
            "steps": str(diffusion["sample_steps"]),
            "sampler": str(diffusion["sampler"]),
            "spacing": str(diffusion.get("spacing", LATER_KEYS["spacing"])),
            "weights_digest": bundle.weights_digest,
            "config": json.dumps(model),
            "plugins": json.dumps(bundle.plugins),
            **({} if bundle.likeness is None else {LIKENESS: bundle.likeness.to_json()}),
            "file_digest": sealed.UNSEALED,
        }
    except (KeyError, TypeError) as error:
        raise UserError(f"the config of the bundle lacks {error}; bundle the run again") from error


def trace(module: nn.Module, examples: Mapping[str, Tensor], output: str, multiple: int) -> onnx.ModelProto:
    """What torch's exporter makes of a module, whose arguments are the examples, by name and in this order.

    Examples of rank 4 are pictures (batch, channels, height, width), whose sides the graph takes in multiples of
    `multiple`; in all the batch is free.
    """
    batch, rows, columns = (torch.export.Dim(name, min=1, max=2**16) for name in ("batch", "rows", "columns"))
    # Where a side is given as multiple * n, the exporter need not ask whether halves and doubles meet again.
    picture = {0: batch, 2: multiple * rows, 3: multiple * columns}
    with quiet():
        program = torch.onnx.export(
            module,
            tuple(examples.values()),
            dynamo=True,
            verbose=False,
            external_data=False,
            opset_version=OPSET,
            input_names=list(examples),
            output_names=[output],
            dynamic_shapes=[picture if example.ndim == 4 else {0: batch} for example in examples.values()],
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    return program.model_proto


def completed(model: onnx.ModelProto, metadata: Mapping[str, str], description: str) -> onnx.ModelProto:
    """The checked graph with metadata and a description as its doc_string, its free sides named."""
    strip(model)
    model.doc_string = description
    for value in [*model.graph.input, *model.graph.output]:
        sides = ("rows", "columns") if value.name == STATE else ("height", "width")
        for dimension, name in zip(value.type.tensor_type.shape.dim, ("batch", "", *sides), strict=False):
            if name:
                dimension.dim_param = name
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model, full_check=True)
    return model


def strip(model: onnx.ModelProto) -> None:
    """Remove what tools note for their own developers: source lines, paths of this machine, inferred shapes."""
    graph = model.graph
    del graph.value_info[:]
    for part in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep other tools' progress, advice and warnings off the terminal; errors still arrive as exceptions."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
