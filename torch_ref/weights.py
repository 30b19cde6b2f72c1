"""`model.safetensors`, the bundle that training leaves: weights in JAX's names and layouts, config, noise schedule.

One table says how a parameter is called and laid out on either side: LEAVES by the kind
of its module, SEED_MODULES for the module names of the seed network (the residual
family has the same module names on both sides). It is read in both directions, and a
parameter that it leaves over or cannot fill is an error.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save as to_bytes
from torch import Tensor, nn

from export.edge.disk.files import weights_digest, write_bytes
from export.edge.disk.reading import parse_json
from export.edge.errors import UserError
from export.edge.model.bundles import (
    FORMAT_VERSION,
    bundle_digest,
    check_bundle_metadata,
    check_process,
    check_schedule,
)
from export.edge.sampling.tables import MOST_TIMESTEPS, Tables
from torch_ref.base import UNet
from torch_ref.seed_unet import SeedUNet
from torch_ref.tensor_file import read_tensors
from torch_ref.unet import ResidualUNet

FORMAT = "dawn2dusk"
SCHEDULE = "schedule.alphas_cumprod"

LEAVES: dict[tuple[type[nn.Module], str], tuple[str, tuple[int, ...]]] = {
    # (kind of module, torch's name): (JAX's name, axes of the JAX array in torch's order)
    (nn.Conv2d, "weight"): ("kernel", (3, 2, 0, 1)),  # (height, width, in, out) -> (out, in, height, width)
    (nn.Conv2d, "bias"): ("bias", (0,)),
    # nnx.ConvTranspose with transpose_kernel=True: (height, width, out, in) -> (in, out, height, width)
    (nn.ConvTranspose2d, "weight"): ("kernel", (3, 2, 0, 1)),
    (nn.ConvTranspose2d, "bias"): ("bias", (0,)),
    (nn.Linear, "weight"): ("kernel", (1, 0)),  # (in, out) -> (out, in)
    (nn.Linear, "bias"): ("bias", (0,)),
    (nn.GroupNorm, "weight"): ("scale", (0,)),
    (nn.GroupNorm, "bias"): ("bias", (0,)),
    (nn.BatchNorm2d, "weight"): ("scale", (0,)),
    (nn.BatchNorm2d, "bias"): ("bias", (0,)),
    (nn.BatchNorm2d, "running_mean"): ("mean", (0,)),
    (nn.BatchNorm2d, "running_var"): ("var", (0,)),
}
JAX_ONLY = ("compute_dtype", "remat", "remat_keeps")
"""Settings that decide how JAX trains a network; here arithmetic is that of the weights' dtype."""
MOST_BLOCKS, MOST_LEVELS, MOST_CHANNELS = 16, 8, 4096
"""Of a network: blocks of a level, levels, and channels or any other number."""
TORCH_ONLY = "num_batches_tracked"
"""BatchNorm's count of training batches: JAX has none, torch does not need it at a fixed momentum; it becomes 0."""


def _block(torch_name: str, jax_name: str, first: int) -> dict[str, str]:
    """[conv, norm, ReLU] x 2 that stands in a Sequential from index `first` on."""
    places = {"conv1": first, "norm1": first + 1, "conv2": first + 3, "norm2": first + 4}
    return {f"{torch_name}.{index}": f"{jax_name}.{part}" for part, index in places.items()}


SEED_MODULES: dict[str, str] = {
    "time_mlp.0": "time_in",
    "time_mlp.2": "time_out",
    "time_proj.0": "time_proj",
    **_block("inc", "inc", 0),
    **{k: v for n in (1, 2, 3) for k, v in _block(f"down{n}", f"down{n}", 1).items()},
    **_block("bottleneck", "bottleneck", 0),
    **{k: v for n in (1, 2, 3) for k, v in {f"up{n}.0": f"up{n}.up", **_block(f"up{n}", f"up{n}.block", 1)}.items()},
    "outc.0": "outc",
}
"""The seed network's modules: torch's name to JAX's."""


@dataclass(frozen=True)
class Bundle:
    """An opened `model.safetensors`."""

    model: UNet
    """On the CPU, in evaluation mode."""
    alphas_cumprod: np.ndarray | None
    """float64 (T,), falling inside (0, 1); None where there are tables."""
    config: dict[str, Any]
    """The whole config tree: data, model, diffusion, optim, train."""
    weights_digest: str
    """64 hexadecimal digits."""
    tables: Tables | None = None
    """The samplers of a process that is not gaussian diffusion."""


@dataclass(frozen=True)
class _Entry:
    """One row of the bijection."""

    torch_name: str
    jax_name: str
    axes: tuple[int, ...]
    jax_shape: tuple[int, ...]


def build_model(config: Mapping[str, Any]) -> UNet:
    """The network that a config tree names, with torch's fresh weights.

    Raises UserError for a setting that is missing, unknown or impossible.
    """
    model, steps = _section(config, "model"), _timesteps(config)
    architecture = model.get("architecture")
    fields = {key: value for key, value in model.items() if key not in ("architecture", *JAX_ONLY)}
    for key, value in fields.items():
        # A network is built before anything shows that its weights are not there.
        most = MOST_BLOCKS if key == "blocks" else MOST_CHANNELS
        numbers = value if isinstance(value, list) else [value]
        if len(numbers) > MOST_LEVELS or any(isinstance(n, int | float) and not n <= most for n in numbers):
            raise UserError(f"config model.{key[:80]} is {reprlib.repr(value)}, past all reason; bundle the run again")
    try:
        if architecture == "seed":
            if fields.get("output_activation") not in ("none", "tanh"):
                raise ValueError(f"output_activation is {fields.get('output_activation')!r}: choose none or tanh")
            return SeedUNet(**fields, timesteps=steps)
        if architecture == "unet":
            return ResidualUNet(**fields)
    except (TypeError, ValueError, ArithmeticError, RuntimeError, IndexError) as error:
        # The networks' signatures are the list of settings: an unknown or impossible one fails there.
        raise UserError(
            f"config model {reprlib.repr(dict(model))} makes no network ({error}); bundle the run again"
        ) from error
    raise UserError(f"config model.architecture is {reprlib.repr(architecture)}: choose one of seed, unet")


def from_jax(tensors: Mapping[str, np.ndarray], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """JAX parameters, flat names to arrays, as a torch state dict (copies; floats keep their dtype).

    Raises UserError for a parameter that is left over, missing or of a wrong shape.
    """
    table = _table(config)
    _check_names(tensors, {entry.jax_name for entry in table}, "weights")
    state: dict[str, Tensor] = {}
    for entry in table:
        array = np.asarray(tensors[entry.jax_name])
        _check_shape(entry.jax_name, array.shape, entry.jax_shape)
        state[entry.torch_name] = torch.from_numpy(array.transpose(entry.axes).copy())
    for name in state.copy():
        if name.endswith(".running_mean"):
            state[name.removesuffix("running_mean") + TORCH_ONLY] = torch.tensor(0, dtype=torch.int64)
    return state


def to_jax(state_dict: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The inverse of `from_jax`: a torch state dict as JAX parameters, flat names to arrays (copies).

    Raises UserError for a parameter that is left over, missing or of a wrong shape.
    """
    table = _table(config)
    known = {name: value for name, value in state_dict.items() if name.rpartition(".")[2] != TORCH_ONLY}
    _check_names(known, {entry.torch_name for entry in table}, "state dict")
    tensors: dict[str, np.ndarray] = {}
    for entry in table:
        value = known[entry.torch_name].detach().cpu().numpy()
        _check_shape(entry.torch_name, value.shape, tuple(entry.jax_shape[axis] for axis in entry.axes))
        tensors[entry.jax_name] = value.transpose(np.argsort(entry.axes)).copy()
    return tensors


def load_bundle(path: Path) -> Bundle:
    """Open a `model.safetensors`.

    Raises UserError for a file that is missing, broken, of another format or version,
    whose digest does not match, or whose tensors do not fill the network exactly.
    """
    metadata, tensors = read_tensors(path, "bundle")
    found = metadata.get("format")
    if found != FORMAT:
        raise UserError(f"bundle {path} has the format {found!r}, expected {FORMAT!r}; give a file of jax_impl.bundle")
    digest = weights_digest(tensors)
    check_bundle_metadata(path, "bundle", metadata, digest)
    try:
        config = parse_json(metadata["config"])
        alphas_cumprod = tensors.pop(SCHEDULE, None)
        tables = check_process(alphas_cumprod, metadata.get("tables"), _timesteps(config))
        for name, array in tensors.items():
            if array.dtype != np.float32:
                raise UserError(f"{name} is {array.dtype}, expected float32; bundle the run again")
            if not np.isfinite(array).all():
                raise UserError(f"{name} is not finite: training diverged; train again at a smaller learning rate")
        state = from_jax(tensors, config)
    except ValueError as error:
        raise UserError(f"bundle {path}: its config is not JSON ({error}); bundle the run again") from error
    except UserError as error:
        raise UserError(f"bundle {path}: {error}") from error
    model = build_model(config)
    model.load_state_dict(state)
    return Bundle(model.eval(), alphas_cumprod, config, digest, tables)


def save_bundle(
    path: Path, state_dict: Mapping[str, Tensor], alphas_cumprod: np.ndarray, config: Mapping[str, Any]
) -> str:
    """Write a `model.safetensors` atomically; returns its weights digest.

    `alphas_cumprod`: float64 (T,). Raises UserError when the state dict does not fill
    the network that `config` names, or the schedule does not fit it.
    """
    tensors = to_jax(state_dict, config)
    tensors[SCHEDULE] = check_schedule(np.asarray(alphas_cumprod), _timesteps(config))
    digest = weights_digest(tensors)
    metadata = {"format": FORMAT, "format_version": FORMAT_VERSION, "config": json.dumps(config)}
    metadata |= {"weights_digest": digest, "digest": bundle_digest(digest, metadata)}
    # As bytes: where the disk is full, the library raises an error of its own.
    write_bytes(path, to_bytes(tensors, metadata))
    return digest


def _table(config: Mapping[str, Any]) -> list[_Entry]:
    """Every parameter of the configured network, each with its two names and its layout."""
    with torch.device("meta"):  # Names and shapes alone: a config that asks for too much costs nothing here.
        model = build_model(config)
    renamed = SEED_MODULES if isinstance(model, SeedUNet) else None
    return list(_entries(model, renamed))


def _entries(model: UNet, renamed: Mapping[str, str] | None) -> Iterator[_Entry]:
    for torch_name, value in model.state_dict().items():
        module, _, leaf = torch_name.rpartition(".")
        if leaf == TORCH_ONLY:
            continue
        jax_leaf, axes = LEAVES[type(model.get_submodule(module)), leaf]
        shape = tuple(value.shape[axis] for axis in np.argsort(axes))
        yield _Entry(torch_name, f"{renamed[module] if renamed else module}.{jax_leaf}", axes, shape)


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = config.get(name) if isinstance(config, Mapping) else None
    if not isinstance(section, Mapping):
        raise UserError(
            f"config {name} is {reprlib.repr(section)}: an object of settings belongs here; bundle the run again"
        )
    return section


def _timesteps(config: Mapping[str, Any]) -> int:
    steps = _section(config, "diffusion").get("timesteps")
    if not isinstance(steps, int) or isinstance(steps, bool) or not 1 <= steps <= MOST_TIMESTEPS:
        wanted = f"a whole number from 1 to {MOST_TIMESTEPS} belongs here"
        raise UserError(f"config diffusion.timesteps is {reprlib.repr(steps)}: {wanted}")
    return steps


def _check_names(found: Mapping[str, object], wanted: set[str], what: str) -> None:
    """Raise UserError unless the names are the wanted ones exactly."""
    for names, problem in ((wanted - set(found), "lacks"), (set(found) - wanted, "holds the unknown")):
        if names:
            listed = ", ".join(sorted(names)[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            raise UserError(f"the {what} {problem} {listed}; is model.architecture of its config the right one?")


def _check_shape(name: str, found: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if tuple(found) != tuple(wanted):
        raise UserError(f"{name} has the shape {found}, expected {wanted}; is model.width of its config the right one?")
