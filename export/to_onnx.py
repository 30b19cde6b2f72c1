"""`python -m export.to_onnx model.safetensors --output artifact/`: trained weights as one ONNX file, checked."""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
import torch

from export.edge import artifact
from export.edge.errors import UserError, run
from export.edge.files import atomic_file, check_input_file, check_output_folder
from export.verify import BAR, compare
from torch_ref.base import UNet
from torch_ref.weights import Bundle, load_bundle

OPSET = 18
"""Old enough for every onnxruntime since 1.14, new enough for the exporter to write it directly."""


def export(bundle: Bundle, output: Path) -> tuple[Path, float]:
    """Write `output`/onnx/model.onnx; returns its path and its largest difference from torch.

    The file appears, or replaces the one that is there, only once onnxruntime has
    given torch's numbers with it. Raises UserError when it differs by more than BAR, or
    when a folder cannot be made; then nothing is left behind.
    """
    path = output / "onnx" / "model.onnx"
    model = build_graph(bundle)
    with _folders(output, path.parent), atomic_file(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))
        artifact.seal(temporary)
        difference = compare(bundle, temporary)
        if not difference <= BAR:
            raise UserError(
                f"the exported graph differs from torch by {difference:.1e}, more than {BAR:.0e}, so it was not "
                "written; install the pinned versions with `pip install -c constraints.txt torch onnx onnxruntime`"
            )
    return path, difference


def build_graph(bundle: Bundle) -> onnx.ModelProto:
    """The network as a checked ONNX model with metadata, its digest still to be filled in.

    Batch, height and width are free, height and width in multiples of the network's
    size_multiple; BatchNorm is folded into the convolutions. Coordinates, where the network
    wants them, are given: it then takes a cond of 5 channels.
    """
    model = _trace(bundle.model)
    _strip(model)
    for value in [*model.graph.input, *model.graph.output]:
        for dimension, name in zip(value.type.tensor_type.shape.dim, ("batch", "", "height", "width"), strict=False):
            if name:
                dimension.dim_param = name
    onnx.helper.set_model_props(model, metadata(bundle))
    onnx.checker.check_model(model, full_check=True)
    return model


def metadata(bundle: Bundle) -> dict[str, str]:
    """All that a sampler needs beside the graph, keys as in `export.edge.artifact.METADATA_KEYS` and `LATER_KEYS`.

    Raises UserError when the bundle's config lacks one of the settings; older bundles lack
    the later ones.
    """
    try:
        data, diffusion, model = (bundle.config[section] for section in ("data", "diffusion", "model"))
        return {
            "format": artifact.FORMAT,
            "format_version": artifact.FORMAT_VERSION,
            "alphas_cumprod": json.dumps(bundle.alphas_cumprod.tolist()),
            "prediction": str(diffusion["prediction"]),
            "clamp": json.dumps(diffusion["clamp"]),
            "threshold": json.dumps(diffusion.get("threshold", 0)),
            "guidance": json.dumps(diffusion.get("guidance", 1)),
            "cond_dropout": json.dumps(diffusion.get("cond_dropout", 0)),
            "coordinates": json.dumps(bundle.model.cond_channels == 5),
            "size": str(data["size"]),
            "size_multiple": str(bundle.model.size_multiple),
            "fit": str(data["fit"]),
            "value_range": artifact.VALUE_RANGE,
            "steps": str(diffusion["sample_steps"]),
            "sampler": str(diffusion["sampler"]),
            "spacing": str(diffusion.get("spacing", artifact.LATER_KEYS["spacing"])),
            "weights_digest": bundle.weights_digest,
            "config": json.dumps(model),
            "file_digest": artifact.UNSEALED,
        }
    except (KeyError, TypeError) as error:
        raise UserError(f"the config of the bundle lacks {error}; bundle the run again") from error


def _trace(model: UNet) -> onnx.ModelProto:
    """What torch's exporter makes of the network."""
    model = copy.deepcopy(model).cpu().float().eval()
    multiple = model.size_multiple
    batch, rows, columns = (torch.export.Dim(name, min=1, max=2**16) for name in ("batch", "rows", "columns"))
    # Told that a side is multiple * n, the exporter need not ask whether halves and doubles meet again.
    picture = {0: batch, 2: multiple * rows, 3: multiple * columns}
    example = torch.zeros(2, model.cond_channels, 2 * multiple, 3 * multiple)
    with _quiet():
        program = torch.onnx.export(
            model,
            (example[:, :3].clone(), example, torch.zeros(2, dtype=torch.int64)),
            dynamo=True,
            verbose=False,
            external_data=False,
            opset_version=OPSET,
            input_names=list(artifact.INPUTS),
            output_names=list(artifact.OUTPUTS),
            dynamic_shapes={"x_t": picture, "cond": picture, "t": {0: batch}},
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    return program.model_proto


def _strip(model: onnx.ModelProto) -> None:
    """Remove what the exporter notes for its own developers: source lines, paths of this machine, inferred shapes."""
    graph = model.graph
    del graph.value_info[:]
    for part in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress, advice and warnings off the terminal; errors still arrive as exceptions."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def _folders(*folders: Path) -> Iterator[None]:
    """Make the folders that are not there yet, outermost first; after a failure those that were made are gone again."""
    made: list[Path] = []
    try:
        for folder in folders:
            if not folder.is_dir():
                folder.mkdir()
                made.append(folder)
        yield
    except BaseException:
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def main(argv: Sequence[str] | None = None) -> None:
    """The command line. Raises UserError for a path that cannot be used and for a graph that is not exact."""
    parser = argparse.ArgumentParser(
        prog="python -m export.to_onnx",
        description="Write trained weights as one ONNX file, after checking it against torch.",
    )
    parser.add_argument("bundle", type=Path, help="the bundle, model.safetensors")
    parser.add_argument(
        "--output", type=Path, default=Path("artifact"), help="folder to write onnx/model.onnx in (default: artifact)"
    )
    args = parser.parse_args(argv)
    check_input_file(args.bundle, "bundle")
    check_output_folder(args.output, "--output")
    if args.output.is_dir():
        check_output_folder(args.output / "onnx", "--output")
    path, difference = export(load_bundle(args.bundle), args.output)
    print(f"{path}  {path.stat().st_size / 1e6:.1f} MB  largest difference from torch {difference:.1e}")


def cli() -> None:
    """The console script."""
    run(main)


if __name__ == "__main__":
    cli()
