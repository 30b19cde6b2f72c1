"""What a manifest says, as records: CSV as spreadsheets and pandas write it, JSON lines, or a JSON array."""

from __future__ import annotations

import codecs
import csv
import difflib
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from export.edge.disk.reading import MOST_TEXT, parse_json, read_bytes
from export.edge.errors import UserError

Record = tuple[int, dict[str, Any]]
"""A line, counted from 1 (of a JSON array: an entry), and its values by column, in small letters."""

_OTHER_NAMES = {"source": ("src", "input", "cond", "sunrise", "a", "from", "left"),
                "target": ("tgt", "output", "x0", "sunset", "b", "to", "right")}  # fmt: skip
_DELIMITERS = (",", ";", "\t")
_NAMED_DELIMITER = re.compile(r"sep=([,;|\t])\r?\n", re.IGNORECASE)
"""The first line of a CSV file for Excel."""


def read_records(path: Path) -> Iterator[Record]:
    """The records of a manifest, each with the columns source and target.

    The text is UTF-8, UTF-16 with its mark, or, as older spreadsheets write it, Windows-1252. CSV may separate by
    commas, semicolons or tabs. A .json or .jsonl file holds an object in each line, or one array of objects.

    Raises UserError, with the line, for anything else.
    """
    text = _read_text(path)
    if not text.strip():
        raise UserError(f"manifest {path} is empty; write a line `source,target` and one line per pair")
    if path.suffix.lower() not in (".json", ".jsonl"):
        return _csv(path, text)
    return _array(path, text) if text.lstrip().startswith("[") else _jsonl(path, text)


def _read_text(path: Path) -> str:
    data = read_bytes(path, "manifest", MOST_TEXT)
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encodings = ["utf-16"] if wide else ["utf-8-sig"] if b"\0" in data else ["utf-8-sig", "cp1252"]
    for encoding in encodings:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise UserError(f"manifest {path} is not UTF-8 text; save it as UTF-8")


def _delimiter(text: str) -> str:
    """What separates the values: that of the candidates by which the first line has both columns."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    for delimiter in _DELIMITERS:
        columns = {value.strip().strip('"').lower() for value in first.split(delimiter)}
        if columns.issuperset(_OTHER_NAMES):
            return delimiter
    return max(_DELIMITERS, key=first.count)


def _array(path: Path, text: str) -> Iterator[Record]:
    try:
        entries = parse_json(text)
    except ValueError as error:
        raise UserError(f"manifest {path} is not JSON ({error}); mend it") from None
    for number, entry in enumerate(entries if isinstance(entries, list) else [], start=1):
        yield _checked(entry, f"{path} entry {number}", number)


def _checked(entry: object, where: str, number: int) -> Record:
    if not isinstance(entry, dict):
        raise UserError(f'{where} is not a JSON object; write {{"source": "a.jpg", "target": "b.jpg"}}')
    record = {str(key).lower(): value for key, value in entry.items()}
    _check_columns(list(record), where)
    return number, record


def _check_columns(present: list[str], where: str) -> None:
    for column, others in _OTHER_NAMES.items():
        if column not in present:
            present = [name[:80] for name in present[:80]]
            near = next((name for name in present if name in others), None)
            near = near or next(iter(difflib.get_close_matches(column, present, n=1)), None)
            remedy = f"rename {near!r} to {column!r}" if near else f"it has {', '.join(map(repr, present)) or 'none'}"
            raise UserError(f"{where} has no column {column!r}; {remedy} (needed: source, target; optional: split)")


def _csv(path: Path, text: str) -> Iterator[Record]:
    named = _NAMED_DELIMITER.match(text)
    body = text[named.end() :] if named else text
    before = 1 if named else 0
    reader = csv.reader(io.StringIO(body, newline=""), delimiter=named[1] if named else _delimiter(body), strict=True)
    columns: list[str] | None = None
    try:
        for values in reader:
            if not any(value.strip() for value in values):
                continue
            if columns is None:
                columns = [value.strip().lower() for value in values]
                _check_columns(columns, f"{path} line {before + reader.line_num}")
                continue
            if len(values) != len(columns):
                raise UserError(
                    f"{path} line {before + reader.line_num} has {len(values)} values for {len(columns)} columns; "
                    "add what is missing, or quote a path that holds a comma"
                )
            yield before + reader.line_num, dict(zip(columns, values, strict=True))
    except csv.Error as error:
        raise UserError(f"{path} line {before + reader.line_num} is not CSV ({error}); mend the line") from None


def _jsonl(path: Path, text: str) -> Iterator[Record]:
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            record = parse_json(content)
        except ValueError:
            record = None
        yield _checked(record, f"{path} line {line}", line)
