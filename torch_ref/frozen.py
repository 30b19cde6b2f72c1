"""Networks that others have trained: from the files they are passed around in to safetensors, and back as tensors.

`Layout` is the table of such a file: which tensors it has, how they are called and shaped, and which are left out.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save as to_bytes
from torch import Tensor

from export.edge.disk.files import check_input_file, weights_digest, write_bytes
from export.edge.errors import UserError
from torch_ref.original import load_pth
from torch_ref.tensor_file import read_tensors

FORMAT_VERSION = "1"
Sizes = dict[str, int]
"""Lengths by the letters that stand for them in a table."""


@dataclass(frozen=True)
class Layout:
    """The table of a file's tensors."""

    shapes: Mapping[str, Sequence[int | str]]
    """Each tensor's name and shape; a letter stands for a length, the same wherever it stands."""
    left_out: str = ""
    """Regular expression for the names of tensors that are there and not needed."""

    def of(self, state: Mapping[str, object], path: Path, sizes: Sizes) -> dict[str, np.ndarray]:
        """The tensors of a state dict, float32; adds to `sizes` what the letters stand for.

        Raises UserError for a tensor that is missing, left over, of another shape or not finite.
        """
        over = state.keys() - self.shapes.keys()
        if extra := sorted(name for name in over if not (self.left_out and re.match(self.left_out, name))):
            raise UserError(f"{path} holds {extra[0]}, which this network lacks; is it of another network?")
        return {name: _taken(state, name, path, shape, sizes) for name, shape in self.shapes.items()}


def read_state(path: Path) -> Mapping[str, object]:
    """The state dict in a `.pth`, `.pt` or `.bin` file, nothing executed, or the tensors of a safetensors file."""
    check_input_file(path, "weights")
    if _is_program(path):
        raise UserError(
            f"{path} is a TorchScript archive, which holds code and was not opened; where you trust it, save "
            f"torch.jit.load({path.name!r}).state_dict() with torch.save, and give that"
        )
    held = read_tensors(path, "weights")[1] if path.suffix == ".safetensors" else load_pth(path)
    if not isinstance(held, Mapping) or not all(isinstance(name, str) for name in held):
        raise UserError(f"{path} is no state dict; save the network's state_dict()")
    return {name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value for name, value in held.items()}


def _is_program(path: Path) -> bool:
    """Whether a file was written by torch.jit.save."""
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except zipfile.BadZipFile:  # Damaged, as who opens it says.
        return False


def save(path: Path, weights: Mapping[str, np.ndarray], kind: str) -> None:
    """Write the weights with their digest, atomically, as the format `dawn2dusk-` + `kind`."""
    metadata = {
        "format": f"dawn2dusk-{kind}",
        "format_version": FORMAT_VERSION,
        "weights_digest": weights_digest(weights),
    }
    # As bytes: where the disk is full, the library raises an error of its own.
    write_bytes(path, to_bytes(dict(weights), metadata))


def open_saved(path: Path, kind: str, what: str) -> dict[str, Tensor]:
    """The weights that `save` wrote, float32; UserError, which calls the file `what`, for another or a damaged one."""
    metadata, tensors = read_tensors(path, what)
    if (metadata.get("format"), metadata.get("format_version")) != (f"dawn2dusk-{kind}", FORMAT_VERSION):
        raise UserError(
            f"{what} {path} holds no dawn2dusk-{kind} weights; make it with `python -m torch_ref.perceptual {kind}`"
        )
    if weights_digest(tensors) != metadata.get("weights_digest"):
        raise UserError(f"{what} {path} does not fit its digest; the file is damaged, write it again")
    return {name: torch.from_numpy(tensor) for name, tensor in tensors.items()}


def take(state: Mapping[str, object], name: str, path: Path) -> np.ndarray:
    """A tensor of a state dict, float32; UserError where there is none, or one that is not finite."""
    value = state.get(name)
    if not isinstance(value, Tensor):
        raise UserError(f"{path} lacks {name}; is it of another network?")
    array = value.detach().to(torch.float32).numpy()
    if not np.isfinite(array).all():
        raise UserError(f"{path}: its {name} is not finite; get a whole copy of it")
    return np.ascontiguousarray(array)


def _taken(state: Mapping[str, object], name: str, path: Path, shape: Sequence[int | str], sizes: Sizes) -> np.ndarray:
    """A tensor of that shape; adds to `sizes` the letters that are new."""
    array = take(state, name, path)
    if array.ndim == len(shape):
        for letter, length in zip(shape, array.shape, strict=True):
            if isinstance(letter, str):
                sizes.setdefault(letter, length)
    wanted = tuple(sizes.get(length, length) if isinstance(length, str) else length for length in shape)
    if array.shape != wanted:
        listed = " × ".join(map(str, wanted))
        raise UserError(f"{path}: its {name} has the shape {array.shape}, expected {listed}; is it of another network?")
    return array
