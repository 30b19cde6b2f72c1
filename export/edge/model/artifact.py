"""The exported model file, opened and turned into a function.

The file is an ONNX graph with inputs `x_t` and `cond`, float32 (batch, 3, height, width)
in [-1, 1] (5 channels of `cond` with coordinates; states where there is a codec), and `t`, int64 (batch,), and one
output `prediction`, shaped like x_t. Its metadata (`export.edge.model.metadata`) hold what else sampling needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from export.edge.errors import UserError
from export.edge.model import codec as codecs
from export.edge.model.codec import DECODE, ENCODE, IDENTITY, SIDES, Codec, Transform
from export.edge.model.denoiser import codec_side, denoiser
from export.edge.model.layout import NETWORKS_FILE, model_file, networks
from export.edge.model.metadata import Artifact, check_format, read_metadata
from export.edge.model.sealed import Opened, check_graph, open_sealed

INPUTS = {"x_t": ("tensor(float)", 4), "cond": ("tensor(float)", 4), "t": ("tensor(int64)", 1)}
OUTPUTS = {"prediction": ("tensor(float)", 4)}


def open_artifact(
    path: Path,
    threads: int | None = None,
    expect_sha256: str | None = None,
    variant: str | None = None,
    *,
    opened: Callable[[], Opened] | None = None,
) -> Artifact:
    """Open the model file at `path`, or an artifact folder's `variant`, on the CPU.

    Its codec, unless that is the identity, and the networks from which its tables start are opened too, from the same
    artifact: in that variant, or the reference where they lack it. `threads` is the number of threads one operator may
    use; None takes one for each physical core. `expect_sha256` is the SHA-256 that the model file must have, 64
    hexadecimal digits; None takes any file. `opened` gives what `open_sealed` gives for the model file, where that has
    begun already. Raises UserError when onnxruntime is not installed, and when a file is missing, too large, another
    one than expected, not one of ours, damaged, needs other files, is of other weights, or of another format version.
    """
    file = model_file(path, variant)
    model = _read_network(file, *(opened() if opened is not None else open_sealed(file, threads, expect_sha256)))
    root = path if path.is_dir() else file.parent.parent
    sides = () if model.codec.name == IDENTITY else tuple(SIDES)
    needed = {name: f"tables name the source {name[:40]!r}" for name in model.sources}
    needed |= {name: f"its codec {model.codec.name[:40]!r} needs {name}.onnx" for name in sides}
    known = networks(root) if needed and (root / NETWORKS_FILE).is_file() else {}
    files = {}
    for name, why in needed.items():
        if name not in known:
            raise UserError(
                f"model {file}: {why}, which the file lacks; give the folder of the artifact, or export it again"
            )
        files[name] = model_file(root, variant, name)
    others = {}
    for name in model.sources:
        other = open_network(files[name], threads)
        if other.weights_digest != model.weights_digest:
            raise UserError(f"model {files[name]} was made from other weights than {file}; export the bundle again")
        others[name] = other.denoise
    codec = open_codec(model.codec, files, model.weights_digest, threads) if sides else model.codec
    return replace(model, others=others, codec=codec, threads=threads)


def open_codec(codec: Codec, files: Mapping[str, Path], weights_digest: str, threads: int | None = None) -> Codec:
    """The codec with what runs it, from its files ENCODE and DECODE. Raises UserError as `open_artifact` does."""
    sides = {}
    for name in SIDES:
        session, metadata = open_sealed(files[name], threads)
        given, made = ({value: ("tensor(float)", 4)} for value in SIDES[name])
        check_graph(session, files[name], given, made)
        if (found := metadata.get("format", "")) != codecs.FORMAT:
            raise UserError(
                f"model {files[name]} has the format {found!r}, expected {codecs.FORMAT!r}; export the bundle again"
            )
        if metadata.get("weights_digest") != weights_digest:
            raise UserError(f"model {files[name]} was made from other weights than its model; export the bundle again")
        sides[name] = codec_side(session, files[name], codec, name)
    return replace(codec, transform=Transform(sides[ENCODE], sides[DECODE]))


def open_network(path: Path, threads: int | None = None, expect_sha256: str | None = None) -> Artifact:
    """Open one file alone, as `open_artifact` does, without its codec and the networks from which its tables start."""
    return _read_network(path, *open_sealed(path, threads, expect_sha256))


def _read_network(path: Path, session: Any, metadata: Mapping[str, str]) -> Artifact:
    check_format(metadata, path)
    check_graph(session, path, INPUTS, OUTPUTS)
    return read_metadata(metadata, denoiser(session, path), path)
