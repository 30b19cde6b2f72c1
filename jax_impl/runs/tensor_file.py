"""Reading safetensors files: the one way in for weights of any kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import safe_open

from export.edge.disk.reading import check_tensor_file
from export.edge.errors import UserError


def read_tensors(path: Path, what: str) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """The metadata and the tensors of a safetensors file; UserError, which calls it `what`, where it is none."""
    check_tensor_file(path, what)
    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
    except OSError:
        raise
    except Exception as error:  # Kinds of numbers that numpy lacks fail in many ways.
        raise UserError(f"{what} {path} is not a whole safetensors file ({error}); write it again") from error
