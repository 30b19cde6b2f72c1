"""Entries of a model's metadata, each checked for what it may hold; UserError names the file and the entry."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from export.edge.disk.reading import parse_json
from export.edge.errors import UserError
from export.edge.sampling.tables import MOST_TIMESTEPS, Tables, read_tables


def tables_entry(metadata: Mapping[str, str], path: Path) -> Tables:
    """The samplers' tables."""
    try:
        return read_tables(metadata["tables"])
    except UserError as error:
        raise UserError(f"model {path}: {error}; export it again") from None


def clamp_entry(metadata: Mapping[str, str], path: Path) -> float | None:
    """The clamp, above 0, or None for none."""
    value = _json(metadata, "clamp", path)
    if value is None:
        return None
    if not _is_number(value) or value <= 0:
        raise UserError(f"model {path}: clamp is {value!r}, neither null nor a number above 0; export it again")
    return float(value)


def number_entry(metadata: Mapping[str, str], key: str, most: float, path: Path) -> float:
    """A number from 0 to `most`."""
    value = _json(metadata, key, path)
    if not _is_number(value) or not 0 <= value <= most:
        raise UserError(f"model {path}: {key} is {value!r}, not a number from 0 to {most:g}; export it again")
    return float(value)


def schedule_entry(metadata: Mapping[str, str], path: Path) -> np.ndarray:
    """The schedule of gaussian diffusion, float64 (T,)."""
    value = _json(metadata, "alphas_cumprod", path)
    if not (isinstance(value, list) and all(map(_is_number, value))):
        raise UserError(f"model {path}: alphas_cumprod is not a list of numbers; export it again")
    if len(value) > MOST_TIMESTEPS:
        raise UserError(
            f"model {path}: alphas_cumprod has {len(value)} numbers, more than {MOST_TIMESTEPS}; export it again"
        )
    return np.array(value, np.float64)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _json(metadata: Mapping[str, str], key: str, path: Path) -> Any:
    try:
        return parse_json(metadata[key])
    except ValueError as error:
        raise UserError(f"model {path}: {key} is not JSON ({error}); export it again") from error
