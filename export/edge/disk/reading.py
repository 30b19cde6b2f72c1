"""Files of others, read with limits: bytes, text, JSON, and the head of a safetensors file before a library sees it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from export.edge.disk.files import check_input_file
from export.edge.errors import UserError, describe_os_error

MOST_TEXT = 64 * 2**20
"""Bytes of a text file; a list of half a million pairs has as many."""
MOST_WEIGHTS = 2**31
"""Bytes of a file of weights: what is larger could not become an ONNX file either, which ends there."""
MOST_HEADER = 8 * 2**20
"""Bytes of a safetensors file's header; that of the largest network here has 60,000."""


def read_bytes(path: Path, what: str, most: int) -> bytes:
    """The content of a file of at most `most` bytes; UserError, which calls it `what`, where there is none or more."""
    check_input_file(path, what)
    try:
        with path.open("rb") as file:
            # Its size is asked first, so that nothing is read of a file too large, and then not relied on.
            data = file.read(most + 1) if os.fstat(file.fileno()).st_size <= most else None
    except OSError as error:
        raise UserError(f"{what} {path}: {describe_os_error(error)}") from error
    if data is None or len(data) > most:
        raise too_large(path, what, most)
    return data


def too_large(path: Path, what: str, most: int) -> UserError:
    """What to say of a file with more than `most` bytes."""
    return UserError(f"{what} {path} has more than {most:,} bytes, the most that is read; is it the right file?")


def read_text(path: Path, what: str, most: int = MOST_TEXT) -> str:
    """A UTF-8 text file, with or without byte order mark; UserError, as of `read_bytes`, for any other."""
    try:
        return read_bytes(path, what, most).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{what} {path} is not UTF-8 text; save it as UTF-8") from None


def parse_json(text: str) -> Any:
    """What a JSON text says. Raises ValueError, with the reason, for any text that is not plain JSON.

    Stricter than `json.loads`: NaN and infinities, numbers that overflow to them, an
    object that names a key twice, and nesting that exhausts the stack are refused too.
    """
    try:
        return json.loads(
            text, parse_constant=_no_number, parse_float=_finite, parse_int=_whole, object_pairs_hook=_once
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON")


def _finite(word: str) -> float:
    value = float(word)
    if abs(value) == float("inf"):
        raise ValueError(f"{word[:20]} is too large a number")
    return value


def _whole(word: str) -> int:
    if len(word) > 300:  # Below that, every whole number is also a finite float.
        raise ValueError(f"{word[:20]}… is too large a number")
    return int(word)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)[:80]!r} is given twice")
    return found


def check_tensor_file(path: Path, what: str) -> None:
    """Raise UserError, which calls it `what`, for a safetensors file that is too large or promises too large a header.

    The library checks all else against the size of the file, but parses a header of up to 100 MB first.
    """
    check_input_file(path, what)
    with path.open("rb") as file:
        head = file.read(8)
    size = path.stat().st_size
    length = int.from_bytes(head, "little")
    if len(head) < 8 or length > size - 8:
        raise UserError(f"{what} {path} is not a whole safetensors file: it has {size:,} bytes; get a whole copy of it")
    if size > MOST_WEIGHTS:
        raise too_large(path, what, MOST_WEIGHTS)
    if length > MOST_HEADER:
        raise UserError(f"{what} {path} has a header of {length:,} bytes, more than {MOST_HEADER:,}; write it again")
