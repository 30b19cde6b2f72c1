"""The sealed file of a model: known by its digest, opened by onnxruntime, here and nowhere else.

A damaged graph often still runs, and then paints nonsense. So the file carries the
SHA-256 of itself, taken with the digest's own 64 digits as zeros and written as
`sha256:<64 hex digits>`, a text that occurs once in the file and is found without
parsing it. It guards against damage and mix-ups; it is not a signature, which anyone
can make again: against a file that was put in the place of another there is `expect_sha256`.

numpy is not loaded here: onnxruntime does that, while a command loads the rest.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export.edge.disk.files import write_bytes
from export.edge.disk.reading import read_bytes
from export.edge.errors import UserError
from export.edge.model.onnx_file import check_self_contained

UNSEALED = "sha256:" + 64 * "0"
"""The value of `file_digest` in a file that `seal` has yet to fill in."""
MOST_MODEL_BYTES = 2**30
"""Of a model file; that of the largest network here has 150 million."""

Opened = tuple[Any, Mapping[str, str]]
"""A session, and the metadata of its file."""

_MARK = re.compile(rb"sha256:([0-9a-f]{64})(?![0-9a-f])")


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


def open_sealed(path: Path, threads: int | None, expect_sha256: str | None = None) -> Opened:
    """A sealed file's session and its metadata. Raises UserError as `export.edge.model.artifact.open_artifact` does."""
    if threads is not None and threads < 1:
        raise UserError(f"threads {threads} is less than 1; give at least one or leave it out")
    session = _open_session(read_sealed(path, expect_sha256), path, threads)
    try:
        return session, session.get_modelmeta().custom_metadata_map
    except UnicodeDecodeError as error:
        raise _no_text(path) from error


def _no_text(path: Path) -> UserError:
    return UserError(f"model {path} holds names or metadata that are no text; export it again")


def read_sealed(path: Path, expect_sha256: str | None = None) -> bytes:
    """The bytes of a file that `seal` has sealed.

    Raises UserError when it is missing, too large, another one than expected, not one of
    ours, damaged, or keeps weights in other files.
    """
    wanted = None if expect_sha256 is None else check_sha256(expect_sha256)
    data = _read(path)
    if wanted is not None and (found := hashlib.sha256(data).hexdigest()) != wanted:
        raise UserError(f"model {path} has the SHA-256 {found}, not the expected {wanted}; get the file that has")
    start, claimed = _find_mark(data, path)
    if _digest(data, start) != claimed:
        raise UserError(
            f"model {path} is changed or damaged since export: its content does not match its digest; get a fresh copy "
            "of it, or, where a tool changed it on purpose, check it with export.verify ARTIFACT FILE --seal"
        )
    check_self_contained(data, path)
    return data


def check_sha256(digits: str) -> str:
    """Return the digits in lower case when they are a SHA-256, else raise UserError."""
    if not re.fullmatch(r"[0-9a-fA-F]{64}", digits):
        raise UserError(f"--expect-sha256 {digits} is no SHA-256; give the 64 hexadecimal digits of `sha256sum FILE`")
    return digits.lower()


def _read(path: Path) -> bytes:
    data = read_bytes(path, "model", MOST_MODEL_BYTES)
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


Values = Mapping[str, tuple[str, int]]
"""Type and rank of each input or output."""


def check_graph(session: Any, path: Path, inputs: Values, outputs: Values) -> None:
    """Raise UserError for a session with other inputs or outputs."""
    for role, wanted, nodes in (("inputs", inputs, session.get_inputs), ("outputs", outputs, session.get_outputs)):
        try:
            have = {node.name: (node.type, len(node.shape)) for node in nodes()}
        except UnicodeDecodeError as error:
            raise _no_text(path) from error
        if have != wanted:
            raise UserError(f"model {path} has the {role} {have}, expected {wanted}; export it again")
