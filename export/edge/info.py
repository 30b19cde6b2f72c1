"""`python -m export.edge info MODEL`: what a model file or an artifact folder is, and whether it is whole."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from export.edge.artifact import FORMAT, FORMAT_VERSION, open_artifact
from export.edge.errors import Parser, UserError
from export.edge.files import check_input_file, sha256_file
from export.edge.layout import model_file, variants

SUMS = "SHA256SUMS"
_SUM = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def describe(path: Path) -> dict[str, Any]:
    """What can be said of a model file or an artifact folder, ready for JSON.

    Raises UserError when it is not one, and when it, another variant beside it, or a file
    that the folder's SHA256SUMS lists is damaged or missing.
    """
    file = model_file(path)
    check_input_file(file, "model")
    model = open_artifact(file)
    ir_version, opset = onnx_versions(file)
    known: dict[str, Any] = {
        "file": str(file),
        "format": f"{FORMAT} {FORMAT_VERSION}",
        "bytes": file.stat().st_size,
        "opset": opset,
        "ir_version": ir_version,
        "size": model.size,
        "size_multiple": model.size_multiple,
        "fit": model.fit,
        "prediction": model.prediction,
        "timesteps": len(model.alphas_cumprod),
        "sampler": model.sampler,
        "steps": model.steps,
        "spacing": model.spacing,
        "clamp": model.clamp,
        "threshold": model.threshold,
        "guidance": model.guidance,
        "cond_dropout": model.cond_dropout,
        "weights_digest": model.weights_digest,
        "digest": "OK",
    }
    if path.is_dir():
        others = {name: other for name, other in variants(path).items() if other != file}
        for other in others.values():
            open_artifact(other)
        known["variants"] = {name: other.stat().st_size for name, other in others.items()}
        known["files_checked"] = _check_sums(path)
    return known


def onnx_versions(path: Path) -> tuple[int, int]:
    """(IR version, opset) of an ONNX file: fields 1 and 8 of its ModelProto, in protobuf's wire format.

    onnxruntime does not tell them. An unknown one is 0.
    """
    ir_version = opset = 0
    for number, value in _fields(path.read_bytes()):
        if number == 1 and isinstance(value, int):
            ir_version = value
        elif number == 8 and isinstance(value, bytes):
            imported = dict(_fields(value))
            if imported.get(1, b"") in (b"", b"ai.onnx") and isinstance(version := imported.get(2), int):
                opset = version
    return ir_version, opset


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protobuf message, as number and value; ends early where it makes no sense."""
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while place < len(data):
            byte = data[place]
            place += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
        raise EOFError

    try:
        while place < len(data):
            number, kind = divmod(varint(), 8)
            if kind == 0:
                yield number, varint()
                continue
            length = varint() if kind == 2 else {1: 8, 5: 4}[kind]
            yield number, data[place : place + length]
            place += length
    except (EOFError, KeyError):
        return


def _check_sums(folder: Path) -> int:
    """How many files the folder's SHA256SUMS lists, all of them whole; 0 without one. Else UserError."""
    sums = folder / SUMS
    if not sums.is_file():
        return 0
    listed = [
        match.groups() for line in sums.read_text(errors="replace").splitlines() if (match := _SUM.fullmatch(line))
    ]
    bad = [name for digest, name in listed if not (folder / name).is_file() or sha256_file(folder / name) != digest]
    if bad:
        raise UserError(f"artifact {folder}: {', '.join(bad)} missing or not as {SUMS} says; get a fresh copy")
    return len(listed)


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
    rows = {
        "what": "a conditional diffusion model that turns a photo into its translation",
        "file": f"{known['bytes'] / 1e6:.1f} MB, format {known['format']}, {versions}",
        "size": f"trained at {size} x {size} pixels ({known['fit']}); sides in multiples of {known['size_multiple']}",
        "predicts": f"{known['prediction']}, clamp {clamp}{threshold}",
        "recommended": f"{known['sampler']}, {steps}, {known['spacing']} spacing",
        "guidance": f"{known['guidance']:g}{hidden}",
        "weights": known["weights_digest"],
        "digest": known["digest"],
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
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    arguments = parser.parse_args(argv)
    known = describe(arguments.model)
    print(json.dumps(known, indent=2) if arguments.json else block(known))
