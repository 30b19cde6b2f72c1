"""What JAX and PyTorch check alike in a bundle, `model.safetensors`, beside its tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from export.edge.errors import UserError
from export.edge.sampling.tables import Tables, read_tables, timesteps_of

FORMAT_VERSION = "2"
FORMAT_VERSIONS = ("1", FORMAT_VERSION)
"""Those that can be read; 2 added ADDED."""
ADDED = ("tables",)
"""Metadata that not every bundle has: `tables`, of the samplers of a process that is not gaussian diffusion."""
_KEYS = frozenset({"format", "format_version", "config", "weights_digest", "digest", *ADDED})


def bundle_digest(weights_digest: str, metadata: Mapping[str, str]) -> str:
    """The SHA-256 over a bundle's weights, the text of its configuration and ADDED, 64 hexadecimal digits."""
    texts = [weights_digest, metadata["config"], *(f"{key}\0{metadata[key]}" for key in ADDED if key in metadata)]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def check_bundle_metadata(path: Path, what: str, metadata: Mapping[str, str], digest: str) -> None:
    """Raise UserError unless a bundle's metadata fit each other and `digest`, the weights' own.

    A bundle of before there was a `digest` over the configuration too is taken without one.
    """
    version = metadata.get("format_version")
    if version not in FORMAT_VERSIONS:
        raise UserError(
            f"{what} {path} has format version {version!r}, this program reads {' and '.join(FORMAT_VERSIONS)}; "
            "bundle the run again"
        )
    damaged = f"{what} {path}: {{}}; the file is damaged, bundle the run again"
    if digest != metadata.get("weights_digest"):
        raise UserError(damaged.format("its weights do not match their digest"))
    if "config" not in metadata or not metadata.keys() <= _KEYS:
        odd = ", ".join(sorted(metadata.keys() - _KEYS)) or "no config"
        raise UserError(damaged.format(f"its metadata hold {odd}"))
    if metadata.get("digest") not in (None, bundle_digest(digest, metadata)):
        raise UserError(damaged.format("its config does not match its digest"))


def check_process(schedule: np.ndarray | None, tables: str | None, timesteps: int) -> Tables | None:
    """The tables of a bundle, or None where its process is gaussian diffusion by `schedule`, which is checked.

    Raises UserError unless exactly one of the two is there and fits `timesteps`, T.
    """
    if (schedule is None) == (tables is None):
        both = "is missing" if schedule is None else "is there and tables too"
        raise UserError(f"schedule.alphas_cumprod {both}; bundle the run again")
    if tables is None:
        check_schedule(np.asarray(schedule), timesteps)
        return None
    found = read_tables(tables)
    if (last := timesteps_of(found)) > timesteps:
        raise UserError(f"tables reach the timestep {last - 1}, and the config has {timesteps}; bundle the run again")
    return found


def check_schedule(alphas_cumprod: np.ndarray, timesteps: int) -> np.ndarray:
    """Return ᾱ where it is float64 (timesteps,) and falls strictly inside (0, 1), else raise UserError."""
    if alphas_cumprod.dtype != np.float64 or alphas_cumprod.shape != (timesteps,):
        raise UserError(
            f"schedule.alphas_cumprod is {alphas_cumprod.dtype} {alphas_cumprod.shape}, expected float64 "
            f"({timesteps},); bundle the run again"
        )
    if not (np.diff(alphas_cumprod, prepend=1.0, append=0.0) < 0).all():
        raise UserError("schedule.alphas_cumprod does not fall strictly inside (0, 1); bundle the run again")
    return alphas_cumprod
