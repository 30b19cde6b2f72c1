"""`python -m export.edge info MODEL`: what a model file or an artifact folder is, and whether it is whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export.edge.command import Parser
from export.edge.disk.files import sha256_file
from export.edge.disk.sums import check_sums
from export.edge.model.artifact import open_artifact
from export.edge.model.layout import SUMS, model_file, variants
from export.edge.model.metadata import FORMAT
from export.edge.model.onnx_file import onnx_versions
from export.edge.model.sealed import read_sealed

LIKE_ANY = "it does not know what its training inputs look like"


def describe(path: Path, expect_sha256: str | None = None) -> dict[str, Any]:
    """What can be said of a model file or an artifact folder, ready for JSON.

    Raises UserError when it is not one, when the model file has another SHA-256 than
    expected, and when it, another variant of the folder, or a file that the folder's
    SHA256SUMS lists is damaged or missing.
    """
    file = model_file(path)
    model = open_artifact(path, expect_sha256=expect_sha256)
    ir_version, opset = onnx_versions(read_sealed(file))
    known: dict[str, Any] = {
        "file": str(file),
        "format": f"{FORMAT} {model.format_version}",
        "bytes": file.stat().st_size,
        "opset": opset,
        "ir_version": ir_version,
        "size": model.size,
        "size_multiple": model.size_multiple,
        "fit": model.fit,
        "prediction": model.prediction,
        "timesteps": model.timesteps,
        "sampler": model.sampler,
        "steps": model.steps,
        "spacing": model.spacing,
        "clamp": model.clamp,
        "threshold": model.threshold,
        "guidance": model.guidance,
        "cond_dropout": model.cond_dropout,
        "slider": model.slider,
        "knows_inputs": model.likeness is not None,
        "title": model.words.title,
        "input_name": model.words.input_name,
        "target_name": model.words.target_name,
        "weights_digest": model.weights_digest,
        "digest": "OK",
        "sha256": sha256_file(file),
    }
    if path.is_dir():
        others = {name: other for name, other in variants(path).items() if other != file}
        for other in others.values():
            open_artifact(other)
        known["variants"] = {name: other.stat().st_size for name, other in others.items()}
        known["files_checked"] = check_sums(path)
    return known


def block(known: dict[str, Any]) -> str:
    """`describe`'s answer for a person."""
    size = known["size"]
    clamp = "none" if known["clamp"] is None else f"{known['clamp']:g}"
    threshold = f", dynamic thresholding of {known['threshold']:g}" if known["threshold"] else ""
    hidden = (
        f"; training hid {known['cond_dropout']:.0%} of inputs" if known["cond_dropout"] else ", and can have no other"
    )
    versions = f"opset {known['opset']}, IR {known['ir_version']}"
    steps = f"{known['steps']} of {known['timesteps']} steps"
    given, made = known["input_name"] or "a photo", known["target_name"] or "its translation"
    rows = {
        "what": f"a conditional diffusion model, from {given} to {made}",
        "file": f"{known['bytes'] / 1e6:.1f} MB, format {known['format']}, {versions}",
        "size": f"trained at {size} x {size} pixels ({known['fit']}); sides in multiples of {known['size_multiple']}",
        "predicts": f"{known['prediction']}, clamp {clamp}{threshold}",
        "recommended": f"{known['sampler']}, {steps}, {known['spacing']} spacing",
        "guidance": f"{known['guidance']:g}{hidden}",
        "realism": "any from 0 to 1, by --realism" if known["slider"] else "no choice",
        "photos": "it can say which are unlike its training inputs" if known["knows_inputs"] else LIKE_ANY,
        "weights": known["weights_digest"],
        "digest": known["digest"],
        "sha256": known["sha256"],
    }
    if known.get("variants"):
        rows["variants"] = ", ".join(f"{name} {size / 1e6:.1f} MB, OK" for name, size in known["variants"].items())
    if known.get("files_checked"):
        rows[SUMS] = f"{known['files_checked']} files OK"
    return "\n".join([known["file"], *(f"  {name:<12} {value}" for name, value in rows.items())])


def main(argv: Sequence[str]) -> None:
    """The command line after the word `info`."""
    parser = Parser(prog="python -m export.edge info", description="Say what an exported model is.")
    parser.add_argument("model", type=Path, help="the .onnx file, or the folder that export.to_onnx wrote")
    parser.add_argument("--expect-sha256", metavar="DIGEST", help="the SHA-256 that the .onnx file must have")
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    arguments = parser.parse_args(argv)
    known = describe(arguments.model, arguments.expect_sha256)
    print(json.dumps(known, indent=2) if arguments.json else block(known))
