"""`model.safetensors`, the bundle that training leaves: weights in JAX's names and layouts, config, noise schedule.

One table says how a parameter is called and laid out on either side: LEAVES by the kind
of its module, and where the two sides name modules differently, the network's entry in
NETWORKS. It is read in both directions, and a parameter that it leaves over or cannot
fill is an error.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save as to_bytes
from torch import Tensor, nn

from export.edge import plugins
from export.edge.disk.files import write_bytes
from export.edge.disk.reading import parse_json
from export.edge.errors import UserError
from export.edge.model.bundles import (
    Training,
    bundle_metadata,
    bundle_tensors,
    check_process,
    check_schedule,
    open_contents,
)
from export.edge.model.codec import of_settings
from export.edge.model.layout import DENOISER
from export.edge.model.likeness import Likeness
from export.edge.sampling.tables import MOST_TIMESTEPS, Tables
from torch_ref import builtin  # noqa: F401  It registers our networks.
from torch_ref.autoencoder import Statistics
from torch_ref.base import Denoiser
from torch_ref.blocks import GroupNorm
from torch_ref.registry import MOST, NETWORKS, Network
from torch_ref.tensor_file import read_tensors

LEAVES: Mapping[tuple[type[nn.Module], str], tuple[str, tuple[int, ...]]] = {
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
    (GroupNorm, "weight"): ("scale", (0,)),
    (GroupNorm, "bias"): ("bias", (0,)),
    (nn.BatchNorm2d, "weight"): ("scale", (0,)),
    (nn.BatchNorm2d, "bias"): ("bias", (0,)),
    (nn.BatchNorm2d, "running_mean"): ("mean", (0,)),
    (nn.BatchNorm2d, "running_var"): ("var", (0,)),
    (Statistics, "mean"): ("mean", (0,)),
    (Statistics, "std"): ("std", (0,)),
}
MOST_VALUES = 8
"""Of a setting that is a list, such as one for each level."""
TORCH_ONLY = "num_batches_tracked"
"""BatchNorm's count of training batches: JAX has none, torch does not need it at a fixed momentum; it becomes 0."""


@dataclass(frozen=True)
class Bundle:
    """An opened `model.safetensors`."""

    model: Denoiser
    """On the CPU, in evaluation mode."""
    alphas_cumprod: np.ndarray | None
    """float64 (T,), falling inside (0, 1); None where there are tables."""
    config: dict[str, Any]
    """The whole config tree: data, model, diffusion, optim, train."""
    weights_digest: str
    """64 hexadecimal digits."""
    plugins: plugins.Record = ()
    """What of its content a user's modules registered."""
    networks: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    """The weights of every network of the bundle, by its name, in JAX's names and layouts."""
    tables: Tables | None = None
    """The samplers of a process that is not gaussian diffusion."""
    training: Training | None = None
    """How far training had come; None where the bundle does not say."""
    likeness: Likeness | None = None
    """What the training inputs look like; None where the bundle does not say."""


@dataclass(frozen=True)
class Entry:
    """One row of the bijection."""

    torch_name: str
    jax_name: str
    axes: tuple[int, ...]
    jax_shape: tuple[int, ...]


def build_model(config: Mapping[str, Any], record: plugins.Record = ()) -> Denoiser:
    """The network that a config tree names, with torch's fresh weights.

    `record`: which entries a user's modules registered, for messages. Raises UserError for a setting that is missing,
    unknown or impossible.
    """
    model, timesteps = _section(config, "model"), _timesteps(config)
    network, channels = _network(config, record), of_settings(config.get("codec", {})).channels
    settings = {key: value for key, value in model.items() if key != "architecture" and key not in network.ignored}
    for key, value in settings.items():
        # A network is built before anything shows that its weights are not there.
        most = network.most.get(key, MOST)
        numbers = value if isinstance(value, list) else [value]
        if len(numbers) > MOST_VALUES or any(isinstance(n, int | float) and not n <= most for n in numbers):
            raise UserError(f"config model.{key[:80]} is {reprlib.repr(value)}, past all reason; bundle the run again")
    try:
        return network.create(timesteps=timesteps, state_channels=channels, **settings)
    except (TypeError, ValueError, ArithmeticError, RuntimeError, IndexError) as error:
        # The networks' signatures are the list of settings: an unknown or impossible one fails there.
        raise UserError(
            f"config model {reprlib.repr(dict(model))} makes no network ({error}); bundle the run again"
        ) from error


def from_jax(tensors: Mapping[str, np.ndarray], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """JAX parameters, flat names to arrays, as a torch state dict (copies; floats keep their dtype).

    Raises UserError for a parameter that is left over, missing or of a wrong shape.
    """
    return from_entries(tensors, _table(config))


def from_entries(
    tensors: Mapping[str, np.ndarray], table: Sequence[Entry], section: str = "model"
) -> dict[str, Tensor]:
    """The same by any table, such as one of `entries_of`; `section` of the config has the network's settings."""
    _check_names(tensors, {entry.jax_name for entry in table}, "weights", section)
    state: dict[str, Tensor] = {}
    for entry in table:
        array = np.asarray(tensors[entry.jax_name])
        _check_shape(entry.jax_name, array.shape, entry.jax_shape, section)
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


def load_bundle(path: Path, network: str = DENOISER) -> Bundle:
    """Open a `model.safetensors`, with the weights of one of its networks in the model.

    Raises UserError for a network that it lacks, and for a file that is missing, broken, of another format or version,
    whose digest does not match, or whose tensors do not fill the network exactly.
    """
    held = open_contents(path, "bundle", *read_tensors(path, "bundle"))
    try:
        config = parse_json(held.config)
        tables = check_process(held.alphas_cumprod, held.tables, _timesteps(config))
        if network not in held.networks:
            raise UserError(f"it has no network {network!r}, only {', '.join(held.networks)}; bundle the run again")
        weights = held.networks[network]
        for name, array in weights.items():
            if not np.isfinite(array).all():
                raise UserError(f"{name} is not finite: training diverged; train again at a smaller learning rate")
        with torch.device("meta"):
            build_model(config, held.plugins)
        state = from_jax(weights, config)
    except ValueError as error:
        raise UserError(f"bundle {path}: its config is not JSON ({error}); bundle the run again") from error
    except UserError as error:
        raise UserError(f"bundle {path}: {error}") from error
    model = build_model(config)
    model.load_state_dict(state)
    return Bundle(
        model.eval(),
        held.alphas_cumprod,
        config,
        held.weights_digest,
        held.plugins,
        held.networks,
        tables,
        held.training,
        held.likeness,
    )


def from_bundle(path: Path | str) -> Denoiser:
    """The network in a `model.safetensors`, on the CPU, in evaluation mode.

    Raises UserError for a file that is missing, broken or not a bundle. `load_bundle` returns the schedule and the
    config as well.
    """
    return load_bundle(Path(path)).model


def save_bundle(
    path: Path, state_dict: Mapping[str, Tensor], alphas_cumprod: np.ndarray, config: Mapping[str, Any]
) -> str:
    """Write a `model.safetensors` atomically; returns its weights digest.

    `alphas_cumprod`: float64 (T,). Raises UserError when the state dict does not fill
    the network that `config` names, or the schedule does not fit it.
    """
    schedule = check_schedule(np.asarray(alphas_cumprod), _timesteps(config))
    tensors = bundle_tensors({DENOISER: to_jax(state_dict, config)}, schedule)
    name = config["model"]["architecture"]
    module = NETWORKS.plugin_of(name)
    metadata = bundle_metadata(tensors, json.dumps(config), ((NETWORKS.kind, name, module),) if module else ())
    # As bytes: where the disk is full, the library raises an error of its own.
    write_bytes(path, to_bytes(tensors, metadata))
    return metadata["weights_digest"]


def _table(config: Mapping[str, Any]) -> list[Entry]:
    """Every parameter of the configured network, each with its two names and its layout."""
    with torch.device("meta"):  # Names and shapes alone: a config that asks for too much costs nothing here.
        model = build_model(config)
    return list(_entries(model, _network(config)))


def entries_of(module: nn.Module) -> list[Entry]:
    """The table of a module that is called the same in JAX, such as a codec. Raises UserError for kinds it lacks."""
    return list(_entries(module, Network(build_model)))


def _entries(model: nn.Module, network: Network) -> Iterator[Entry]:
    leaves = {**LEAVES, **network.leaves}
    for torch_name, value in model.state_dict().items():
        module, _, leaf = torch_name.rpartition(".")
        if leaf == TORCH_ONLY:
            continue
        kind = type(model.get_submodule(module))
        if (kind, leaf) not in leaves or not (network.modules is None or module in network.modules):
            raise UserError(
                f"{torch_name} of {kind.__name__} has no name in JAX; add it to `leaves` or `modules` of its network's "
                "entry in torch_ref.registry.NETWORKS"
            )
        jax_leaf, axes = leaves[kind, leaf]
        shape = tuple(value.shape[axis] for axis in np.argsort(axes))
        yield Entry(torch_name, f"{network.modules[module] if network.modules else module}.{jax_leaf}", axes, shape)


def _network(config: Mapping[str, Any], record: plugins.Record = ()) -> Network:
    """The registry's entry for the architecture of a config tree."""
    name = _section(config, "model").get("architecture")
    return NETWORKS.find(name, "config model.architecture", plugins.module_of(record, NETWORKS.kind, name))


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


def _check_names(found: Mapping[str, object], wanted: set[str], what: str, section: str = "model") -> None:
    """Raise UserError unless the names are the wanted ones exactly."""
    for names, problem in ((wanted - set(found), "lacks"), (set(found) - wanted, "holds the unknown")):
        if names:
            listed = ", ".join(sorted(names)[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            raise UserError(f"the {what} {problem} {listed}; is {section} of its config the right one?")


def _check_shape(name: str, found: tuple[int, ...], wanted: tuple[int, ...], section: str = "model") -> None:
    if tuple(found) != tuple(wanted):
        raise UserError(f"{name} has the shape {found}, expected {wanted}; is {section} of its config the right one?")
