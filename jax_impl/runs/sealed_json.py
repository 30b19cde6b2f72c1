"""JSON files of a run that know their own digest, so that damage which leaves them JSON is found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export.edge.disk.files import write_json
from export.edge.disk.reading import parse_json, read_text
from export.edge.errors import UserError

DIGEST = "digest"


def write_sealed_json(path: Path, tree: Mapping[str, Any]) -> None:
    """Write a tree with the digest of what it says, atomically."""
    write_json(path, {**tree, DIGEST: _digest(tree)})


def read_sealed_json(path: Path, what: str) -> dict[str, Any]:
    """The tree in a file, without its digest. Raises UserError for a file that is missing, damaged or no object."""
    try:
        tree = parse_json(read_text(path, what))
    except ValueError as error:
        raise UserError(f"{what} {path} is damaged ({error}); restore it from a copy") from None
    if not isinstance(tree, dict):
        raise UserError(f"{what} {path} is damaged (it holds no object); restore it from a copy")
    if tree.pop(DIGEST, None) != _digest(tree):
        raise UserError(
            f"{what} {path} is not as training wrote it: its digest does not fit; restore it from a copy, and give "
            "other settings on the command line"
        )
    return tree


def _digest(tree: Mapping[str, Any]) -> str:
    """The SHA-256 of what a tree says, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True, allow_nan=False).encode()).hexdigest()
