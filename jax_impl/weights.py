"""The bundle: weights, configuration and schedule in one safetensors file that any framework reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from export.edge.errors import UserError
from export.edge.files import atomic_file, check_input_file, weights_digest
from jax_impl.config import Config
from jax_impl.config_json import from_json, to_json
from jax_impl.model.network import Tree, flatten

FORMAT = "dawn2dusk"
FORMAT_VERSION = "1"
SCHEDULE = "schedule.alphas_cumprod"


@dataclass(frozen=True)
class Bundle:
    """What a model.safetensors holds: float32 weights by dotted name, ᾱ float64 (T,), and the configuration."""

    weights: Mapping[str, np.ndarray]
    alphas_cumprod: np.ndarray
    config: Config


def write_bundle(path: Path, params: Tree, stats: Tree, alphas_cumprod: np.ndarray, config: Config) -> str:
    """Write a bundle atomically and return its digest (64 hexadecimal digits)."""
    tensors = {name: np.asarray(leaf) for name, leaf in (flatten(params) | flatten(stats)).items()}
    tensors[SCHEDULE] = np.asarray(alphas_cumprod, np.float64)
    digest = weights_digest(tensors)
    metadata = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "config": json.dumps(json.loads(to_json(config))),
        "weights_digest": digest,
    }
    with atomic_file(path) as temporary:
        save_file(tensors, temporary, metadata)
    return digest


def read_bundle(path: Path) -> Bundle:
    """Read a bundle; UserError when the file is not one, is of another version, or is damaged."""
    check_input_file(path, "weights")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise UserError(f"weights {path} are not a safetensors file ({error}); write it again") from None
    if metadata.get("format") != FORMAT:
        raise UserError(f"weights {path} were not written by jax_impl.bundle; make them from a run with it")
    if metadata.get("format_version") != FORMAT_VERSION:
        raise UserError(
            f"weights {path} have format version {metadata.get('format_version')!r}, this program reads "
            f"{FORMAT_VERSION}; bundle the run again"
        )
    if weights_digest(tensors) != metadata.get("weights_digest"):
        raise UserError(f"weights {path} do not fit their digest; the file is damaged, bundle the run again")
    schedule = tensors.pop(SCHEDULE)
    return Bundle(tensors, schedule, from_json(metadata["config"]))


def fill(template: Tree, weights: Mapping[str, np.ndarray], where: str) -> Tree:
    """A tree shaped like `template` with the named weights; UserError for a missing name or another shape."""

    def leaf(path: tuple, old: jax.Array) -> jax.Array:
        name = ".".join(str(part.key) for part in path)
        new = weights.get(name)
        if new is None or new.shape != old.shape:
            held = "lack" if new is None else f"have shape {new.shape} for"
            raise UserError(f"{where} {held} {name}, the network needs {old.shape}; use the preset it was trained with")
        return jnp.array(new, old.dtype)

    return jax.tree_util.tree_map_with_path(leaf, template)


def warm_start(path: Path, config: Config, params: Tree, stats: Tree) -> tuple[Tree, Tree]:
    """Params and stats of a bundle, for a network of this shape that predicts the same thing.

    Raises UserError for a bundle whose network, prediction or number of timesteps
    differs from the config's, and for a name that is left over.
    """
    bundle = read_bundle(path)
    ours, theirs = config, bundle.config
    for name, wanted, held in (
        ("model", ours.model, theirs.model),
        ("diffusion.prediction", ours.diffusion.prediction, theirs.diffusion.prediction),
        ("diffusion.timesteps", ours.diffusion.timesteps, theirs.diffusion.timesteps),
    ):
        if wanted != held:
            raise UserError(
                f"weights {path} were trained with {name} {held}, not {wanted}; use the preset it was trained with"
            )
    weights = bundle.weights
    names = flatten(params).keys() | flatten(stats).keys()
    extra = sorted(weights.keys() - names)
    if extra:
        raise UserError(f"weights {path} hold {extra[0]}, which this network lacks; use the preset it was trained with")
    return fill(params, weights, f"weights {path}"), fill(stats, weights, f"weights {path}")
