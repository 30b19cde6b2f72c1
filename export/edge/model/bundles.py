"""What JAX and PyTorch check alike in a bundle, `model.safetensors`, beside its tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from export.edge.errors import UserError

_KEYS = frozenset({"format", "format_version", "config", "weights_digest", "digest"})


def bundle_digest(weights_digest: str, config: str) -> str:
    """The SHA-256 over a bundle's weights and the text of its configuration, 64 hexadecimal digits."""
    return hashlib.sha256(f"{weights_digest}\0{config}".encode()).hexdigest()


def check_bundle_metadata(path: Path, what: str, metadata: Mapping[str, str], digest: str) -> None:
    """Raise UserError unless a bundle's metadata fit each other and `digest`, the weights' own.

    A bundle of before there was a `digest` over the configuration too is taken without one.
    """
    damaged = f"{what} {path}: {{}}; the file is damaged, bundle the run again"
    if digest != metadata.get("weights_digest"):
        raise UserError(damaged.format("its weights do not match their digest"))
    if "config" not in metadata or not metadata.keys() <= _KEYS:
        odd = ", ".join(sorted(metadata.keys() - _KEYS)) or "no config"
        raise UserError(damaged.format(f"its metadata hold {odd}"))
    if metadata.get("digest") not in (None, bundle_digest(digest, metadata["config"])):
        raise UserError(damaged.format("its config does not match its digest"))


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
