"""The exported model file: known by its digest, opened, and turned into a function.

The file is an ONNX graph with inputs `x_t` and `cond`, float32 (batch, 3, height, width)
in [-1, 1] (5 channels of `cond` with coordinates), and `t`, int64 (batch,), and one output
`prediction`, shaped like x_t. Its METADATA_KEYS and LATER_KEYS hold what else sampling needs.

A damaged graph often still runs, and then paints nonsense. So the file carries the
SHA-256 of itself, taken with the digest's own 64 digits as zeros and written as
`sha256:<64 hex digits>`, a text that occurs once in the file and is found without
parsing it. It guards against damage and mix-ups; it is not a signature.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export.edge.coordinates import placed
from export.edge.denoiser import denoiser
from export.edge.errors import UserError, describe_os_error
from export.edge.files import check_input_file, write_bytes
from export.edge.guidance import check_guidance
from export.edge.pictures import FITS
from export.edge.sampler import PREDICTIONS, SAMPLERS, Denoise, coefficients
from export.edge.spacing import SPACINGS

FORMAT = "dawn2dusk"
FORMAT_VERSION = "1"
VALUE_RANGE = "[-1, 1]"
UNSEALED = "sha256:" + 64 * "0"
"""The value of `file_digest` in a file that `seal` has yet to fill in."""
METADATA_KEYS = (
    "format",
    "format_version",
    "alphas_cumprod",
    "prediction",
    "clamp",
    "size",
    "size_multiple",
    "fit",
    "value_range",
    "steps",
    "sampler",
    "weights_digest",
    "config",
    "file_digest",
)
LATER_KEYS = {"spacing": "trailing", "threshold": "0", "guidance": "1", "cond_dropout": "0", "coordinates": "false"}
"""Keys that older files lack, with what they mean by that."""
INPUTS = {"x_t": ("tensor(float)", 4), "cond": ("tensor(float)", 4), "t": ("tensor(int64)", 1)}
OUTPUTS = {"prediction": ("tensor(float)", 4)}

_MARK = re.compile(rb"sha256:([0-9a-f]{64})(?![0-9a-f])")


@dataclass(frozen=True)
class Artifact:
    """An opened model file."""

    denoise: Denoise
    """denoise(x_t, cond, t): float32 (batch, height, width, 3) twice and int64 (batch,) to the prediction,
    float32 (batch, height, width, 3). Height and width must be multiples of size_multiple. With coordinates, cond
    may have 5 channels, see `export.edge.coordinates`."""
    alphas_cumprod: np.ndarray
    """float64 (T,), falling inside (0, 1)."""
    prediction: str
    """What denoise returns: "eps", "x0" or "v"."""
    clamp: float | None
    """x0_hat is clamped to [-clamp, clamp] at every step; None leaves it alone."""
    threshold: float
    """Share of a picture's values that dynamic thresholding shrinks into the clamp; 0 for none of it."""
    size: int
    """Side in pixels of the squares the model was trained on."""
    size_multiple: int
    fit: str
    """How training brought pictures to squares: "crop", "letterbox" or "stretch"."""
    steps: int
    """Recommended number of sampler steps."""
    sampler: str
    """Recommended sampler, one of `export.edge.sampler.SAMPLERS`."""
    spacing: str
    """Recommended choice of timesteps, one of `export.edge.spacing.SPACINGS`."""
    guidance: float
    """Recommended guidance scale, see `export.edge.guidance`; 1 is none."""
    cond_dropout: float
    """Share of guiding pictures that training hid; without any, no other guidance than 1 makes sense."""
    coordinates: bool
    """Whether the model is told where each pixel lies."""
    weights_digest: str
    """64 hexadecimal digits, the same for every file made from the same weights."""


def seal(path: Path) -> str:
    """Write the digest of the model file at `path` into it, atomically; return its 64 hexadecimal digits.

    The file must hold `sha256:` and 64 hexadecimal digits (UNSEALED, or an old digest)
    exactly once, else UserError.
    """
    data = _read(path)
    start, _ = _find_mark(data, path)
    digest = _digest(data, start)
    write_bytes(path, data[:start] + digest.encode() + data[start + 64 :])
    return digest


def open_artifact(path: Path, threads: int | None = None) -> Artifact:
    """Open the model file at `path` on the CPU.

    `threads` is the number of threads one operator may use; None takes one for each
    physical core. Raises UserError when onnxruntime is not installed, and when the
    file is missing, not one of ours, damaged, or of another format version.
    """
    if threads is not None and threads < 1:
        raise UserError(f"threads {threads} is less than 1; give at least one or leave it out")
    session = _open_session(read_sealed(path), path, threads)
    metadata = session.get_modelmeta().custom_metadata_map
    _check_format(metadata, path)
    _check_graph(session, path)
    return _read_metadata(metadata, denoiser(session, path), path)


def read_sealed(path: Path) -> bytes:
    """The bytes of a file that `seal` has sealed. Raises UserError when it is missing, not one of ours or damaged.

    A graph opened from its bytes, not by its path, has no access to other files.
    """
    data = _read(path)
    start, claimed = _find_mark(data, path)
    if _digest(data, start) != claimed:
        raise UserError(f"model {path} is damaged: its content does not match its digest; get a fresh copy of it")
    return data


def _read(path: Path) -> bytes:
    check_input_file(path, "model")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"model {path}: {describe_os_error(error)}") from error
    if not data:
        raise UserError(f"model {path} is empty; export it again or get a fresh copy of it")
    return data


def _find_mark(data: bytes, path: Path) -> tuple[int, str]:
    """Where the 64 digits of the digest begin, and what they are."""
    marks = [(mark.start(1), mark.group(1).decode()) for mark in _MARK.finditer(data)]
    if len(marks) != 1:
        found = "no digest" if not marks else f"{len(marks)} digests"
        raise UserError(
            f"model {path} is not a whole file written by export.to_onnx: it holds {found} where one is due; "
            "export it again or get a fresh copy of it"
        )
    return marks[0]


def _digest(data: bytes, start: int) -> str:
    """SHA-256 of `data` with the 64 digits from `start` on read as zeros."""
    view = memoryview(data)
    digest = hashlib.sha256(view[:start])
    digest.update(64 * b"0")
    digest.update(view[start + 64 :])
    return digest.hexdigest()


def _open_session(data: bytes, path: Path, threads: int | None) -> Any:
    # Imported here and not above: everything else in export.edge works without it.
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(
            f"onnxruntime cannot be imported ({error}); install it with `pip install onnxruntime`"
        ) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # What goes wrong arrives as an exception; its log would only say it twice.
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class of their own.
        raise UserError(
            f"onnxruntime {onnxruntime.__version__} cannot open model {path} ({error}); "
            "update it with `pip install -U onnxruntime` or export the model again"
        ) from error


def _check_graph(session: Any, path: Path) -> None:
    for role, wanted, found in (
        ("inputs", INPUTS, session.get_inputs()),
        ("outputs", OUTPUTS, session.get_outputs()),
    ):
        have = {node.name: (node.type, len(node.shape)) for node in found}
        if have != wanted:
            raise UserError(f"model {path} has the {role} {have}, expected {wanted}; export it again")


def _check_format(metadata: Mapping[str, str], path: Path) -> None:
    found = metadata.get("format", "")
    if found != FORMAT:
        raise UserError(
            f"model {path} has the format {found!r}, expected {FORMAT!r}; give a file model*.onnx of export.to_onnx"
        )
    version = metadata.get("format_version", "")
    if version != FORMAT_VERSION:
        raise UserError(
            f"model {path} has format version {version!r}, this program reads {FORMAT_VERSION!r}; "
            "use the matching version of the program or export the model again"
        )


def _read_metadata(metadata: Mapping[str, str], denoise: Denoise, path: Path) -> Artifact:
    missing = [key for key in METADATA_KEYS if key not in metadata]
    if missing:
        raise UserError(f"model {path} lacks the metadata {', '.join(missing)}; export it again")
    metadata = LATER_KEYS | dict(metadata)

    def choice(key: str, allowed: tuple[str, ...]) -> str:
        if metadata[key] not in allowed:
            raise UserError(
                f"model {path}: {key} is {metadata[key]!r}, not one of {', '.join(allowed)}; export it again"
            )
        return metadata[key]

    def number(key: str) -> int:
        if not re.fullmatch(r"[1-9][0-9]{0,8}", metadata[key]):
            raise UserError(f"model {path}: {key} is {metadata[key]!r}, not a whole number above 0; export it again")
        return int(metadata[key])

    choice("value_range", (VALUE_RANGE,))
    artifact = Artifact(
        denoise=placed(denoise) if metadata["coordinates"] == "true" else denoise,
        alphas_cumprod=np.array(_json(metadata, "alphas_cumprod", path), np.float64),
        prediction=choice("prediction", PREDICTIONS),
        clamp=_clamp(metadata, path),
        threshold=_between(metadata, "threshold", 1.0, path),
        size=number("size"),
        size_multiple=number("size_multiple"),
        fit=choice("fit", FITS),
        steps=number("steps"),
        sampler=choice("sampler", SAMPLERS),
        spacing=choice("spacing", SPACINGS),
        guidance=_between(metadata, "guidance", math.inf, path),
        cond_dropout=_between(metadata, "cond_dropout", 1.0, path),
        coordinates=choice("coordinates", ("false", "true")) == "true",
        weights_digest=metadata["weights_digest"],
    )
    try:
        coefficients(
            artifact.alphas_cumprod,
            artifact.steps,
            artifact.sampler,
            prediction=artifact.prediction,
            spacing=artifact.spacing,
        )
        check_guidance(artifact.guidance, artifact.cond_dropout)
    except UserError as error:
        raise UserError(f"model {path}: {error}") from error
    return artifact


def _clamp(metadata: Mapping[str, str], path: Path) -> float | None:
    value = _json(metadata, "clamp", path)
    if value is None:
        return None
    if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise UserError(f"model {path}: clamp is {value!r}, neither null nor a number above 0; export it again")
    return float(value)


def _between(metadata: Mapping[str, str], key: str, most: float, path: Path) -> float:
    value = _json(metadata, key, path)
    if not isinstance(value, int | float) or not 0 <= value <= most:
        raise UserError(f"model {path}: {key} is {value!r}, not a number from 0 to {most:g}; export it again")
    return float(value)


def _json(metadata: Mapping[str, str], key: str, path: Path) -> Any:
    """The value of a metadata entry; a list must hold numbers alone."""
    try:
        value = json.loads(metadata[key])
    except ValueError as error:
        raise UserError(f"model {path}: {key} is not JSON ({error}); export it again") from error
    if key == "alphas_cumprod" and not (isinstance(value, list) and all(isinstance(v, int | float) for v in value)):
        raise UserError(f"model {path}: {key} is not a list of numbers; export it again")
    return value
