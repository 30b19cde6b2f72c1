"""The original script's checkpoints, `torch.save` of its network, AdamW and StepLR: what they hold, and reading them.

The network is the seed's with a tanh at its end, always: state dicts cannot show one
that was taken out. AdamW's state goes by the number of each parameter, and a state dict
lists parameters in that same order, so a checkpoint of the script tells it by itself.
"""

from __future__ import annotations

import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from export.edge.disk.files import check_input_file
from export.edge.disk.reading import MOST_WEIGHTS, too_large
from export.edge.errors import UserError
from torch_ref.weights import TORCH_ONLY, build_model

ORDER = ("time_mlp", "inc", "down1", "down2", "down3", "bottleneck", "time_proj", "up1", "up2", "up3", "outc")
"""The network's modules as the script makes them, for a state that was never in one of its checkpoints."""
WRAPPERS = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put in front of every name."""
WIDEST = 1024
"""Channels; a first convolution that promises more is no network of this kind."""


@dataclass(frozen=True)
class Checkpoint:
    """A `.pth` of the original script, checked and in float32."""

    state: dict[str, Tensor]
    """The network's state dict without wrappers, in the order of the file."""
    config: dict[str, Any]
    """The config tree that goes with it."""
    training: Mapping[str, Any]
    """What stands beside the weights, unchecked: optimizer_state_dict, scheduler_state_dict, epoch, loss."""
    notes: tuple[str, ...]


def settings() -> tuple[dict[str, Any], np.ndarray]:
    """What the script computes with, as a config tree, and its schedule ᾱ, float64 (1000,).

    Data that `jax_impl` made: the preset `seed` with a tanh.
    """
    held = json.loads(Path(__file__).with_name("original.json").read_text(encoding="utf-8"))
    return held["config"], np.array(held["alphas_cumprod"])


def read_checkpoint(path: Path) -> Checkpoint:
    """Open a checkpoint of the script, or a bare state dict of its network; nothing in it is ever executed.

    Raises UserError for a file that is missing, damaged, no checkpoint, holds code, or
    whose state dict does not fill the network with finite numbers.
    """
    check_input_file(path, "checkpoint")
    held = load_pth(path)
    try:
        state, training = _split(held)
        state = _unwrapped(state)
        config = _config_for(state)
        state, notes = _checked(state, config)
    except UserError as error:
        raise UserError(f"checkpoint {path}: {error}") from None
    return Checkpoint(state, config, training, notes)


def parameters(names: Iterable[str]) -> list[str]:
    """Of a state dict's names those of parameters, in their order, which is that of AdamW's state."""
    return [name for name in names if name.rpartition(".")[2] in ("weight", "bias")]


def in_order(names: Iterable[str]) -> list[str]:
    """Names of the seed network's state dict in the order of the original's."""
    return sorted(names, key=lambda name: ORDER.index(name.partition(".")[0]))


def load_pth(path: Path) -> object:
    """What `torch.save` wrote, executing nothing; UserError where it holds code, is damaged, or is another file."""
    try:
        if path.stat().st_size > MOST_WEIGHTS:
            raise too_large(path, "checkpoint", MOST_WEIGHTS)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                # Torch packs nothing: what is packed may be a bomb, and what is larger than the file is one.
                members = archive.infolist()
                unpacked = sum(member.file_size for member in members)
                if unpacked > path.stat().st_size or any(m.compress_type != zipfile.ZIP_STORED for m in members):
                    raise _damaged(path)
                # Torch writes a checksum for every tensor, and reads over one that does not fit.
                if archive.testzip() is not None:
                    raise _damaged(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what torch makes of odd files, the error says enough
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        if found is None:
            raise _damaged(path) from None
        raise UserError(
            f"checkpoint {path} holds {found[1]}, which is code and not weights, so it was not opened; where you trust "
            "it, save its state dicts and plain numbers again with torch.save"
        ) from None
    except (OSError, UserError):
        raise
    except Exception:
        # A file that is no checkpoint may fail anywhere in torch, in any way.
        raise _damaged(path) from None


def _damaged(path: Path) -> UserError:
    return UserError(f"checkpoint {path} is damaged, or not a file of torch.save; copy it again")


def _split(held: object) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The network's state dict, and what stands beside it."""
    if isinstance(held, Mapping):
        state = held.get("model_state_dict")
        if isinstance(state, Mapping):
            return state, {name: value for name, value in held.items() if name != "model_state_dict"}
        if held and all(isinstance(value, Tensor) for value in held.values()):
            return held, {}
    raise UserError("it holds neither a model_state_dict nor the tensors of one; give a checkpoint of the script")


def _unwrapped(state: Mapping[str, Any]) -> dict[str, Any]:
    names = {name: name for name in state}
    while wrapper := next((w for w in WRAPPERS if names and all(str(n).startswith(w) for n in names.values())), None):
        names = {name: short.removeprefix(wrapper) for name, short in names.items()}
    return {short: state[name] for name, short in names.items()}


def _config_for(state: Mapping[str, Any]) -> dict[str, Any]:
    """The script's settings at the width that the first convolution shows."""
    first = state.get("inc.0.weight")
    if not isinstance(first, Tensor) or first.ndim != 4 or not 1 <= first.shape[0] <= WIDEST:
        raise UserError("it lacks the script's first convolution, inc.0.weight; is it of another network?")
    config, _ = settings()
    config["model"] |= {"width": int(first.shape[0])}
    return config


def _checked(state: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The state dict in float32, and a note where it was not; UserError unless it fills the network exactly."""
    with torch.device("meta"):
        wanted = build_model(config).state_dict()
    for names, problem in ((wanted.keys() - state.keys(), "lacks"), (state.keys() - wanted.keys(), "has also")):
        if names:
            rest = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise UserError(f"it {problem} {min(names, key=str)}{rest}; is it of another network?")
    found = {name: _plain(name, value, wanted[name]) for name, value in state.items()}
    others = {str(value.dtype).removeprefix("torch.") for value in found.values() if value.is_floating_point()}
    notes = tuple(f"note: its {kind} weights were turned into float32" for kind in sorted(others - {"float32"}))
    return {name: _float32(name, value) for name, value in found.items()}, notes


def _plain(name: str, value: object, wanted: Tensor) -> Tensor:
    """A dense tensor of the wanted kind and shape."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.device.type != "cpu":
        raise UserError(f"its {name} is no plain tensor; save the state dict again")
    if value.shape != wanted.shape:
        raise UserError(
            f"its {name} has the shape {tuple(value.shape)}, expected {tuple(wanted.shape)}; is it damaged?"
        )
    if value.is_floating_point() != wanted.is_floating_point() or value.is_complex():
        raise UserError(f"its {name} is {value.dtype}; expected floating-point weights, so save them unquantised")
    return value.detach()


def _float32(name: str, value: Tensor) -> Tensor:
    if name.rpartition(".")[2] == TORCH_ONLY:
        return value.to(torch.int64)
    value = value.to(torch.float32)
    if not value.isfinite().all():
        raise UserError(f"its {name} is not finite: training diverged; take an earlier checkpoint")
    if name.endswith(".running_var") and (value < 0).any():
        raise UserError(f"its {name} is negative, which no variance can be; take another checkpoint")
    return value
