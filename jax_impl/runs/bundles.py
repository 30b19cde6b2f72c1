"""The bundle: weights, configuration and schedule in one safetensors file that any framework reads.

Beside it, where wanted, the state of AdamW in a second one.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save as to_bytes

from export.edge.disk.files import weights_digest, write_bytes
from export.edge.errors import UserError
from export.edge.model.bundles import (
    Training,
    bundle_metadata,
    bundle_tensors,
    check_process,
    open_contents,
    optimizer_metadata,
)
from export.edge.model.codec import CODEC
from export.edge.model.layout import DENOISER
from export.edge.model.likeness import Likeness
from jax_impl.config.as_json import from_json, to_text
from jax_impl.config.fields import TRAINING_ONLY, marked
from jax_impl.config.tagged import plugins_of
from jax_impl.config.tree import Config
from jax_impl.diffusion.process import Published
from jax_impl.model.learned_codec import LearnedCodecConfig
from jax_impl.model.network import Tree, flatten, outline
from jax_impl.runs.folder import differences
from jax_impl.runs.tensor_file import read_tensors
from jax_impl.training.interfaces import NamedNetworks
from jax_impl.training.objective import Problem


@dataclass(frozen=True)
class Bundle:
    """What a model.safetensors holds: float32 weights by dotted name, what it says of the process, configuration."""

    weights: Mapping[str, np.ndarray]
    """The denoiser's."""
    published: Published
    """What it says of the process."""
    config: Config
    networks: Mapping[str, Mapping[str, np.ndarray]]
    """The weights of every network, by its name."""


def write_bundle(
    path: Path,
    networks: NamedNetworks,
    published: Published,
    config: Config,
    training: Training | None = None,
    likeness: Likeness | None = None,
) -> str:
    """Write a bundle atomically and return its digest (64 hexadecimal digits).

    `training`: how far it had come, where that is known. `likeness`: of its inputs, likewise.

    Raises UserError where there is no denoiser among the networks.
    """
    if DENOISER not in networks:
        raise UserError(
            f"the last stage, {config.stages[-1].stage}, publishes {', '.join(networks) or 'no network'} and no "
            f"{DENOISER}; let it publish the one that it starts from"
        )
    tensors, text = _tensors(networks, published), json.dumps(dataclasses.asdict(config))
    metadata = bundle_metadata(tensors, text, plugins_of(config), networks, published.tables, training, likeness)
    # As bytes: where the disk is full, the library raises an error of its own.
    write_bytes(path, to_bytes(tensors, metadata))
    return metadata["weights_digest"]


def digest_of_weights(networks: NamedNetworks, published: Published) -> str:
    """The `weights_digest` of a bundle with these networks, 64 hexadecimal digits."""
    return weights_digest(_tensors(networks, published))


def _tensors(networks: NamedNetworks, published: Published) -> dict[str, np.ndarray]:
    trees = {name: flatten(params) | flatten(stats) for name, (params, stats) in networks.items()}
    weights = {name: {key: np.asarray(leaf) for key, leaf in tree.items()} for name, tree in trees.items()}
    return bundle_tensors(weights, published.alphas_cumprod)


def write_optimizer(path: Path, mu: Tree, nu: Tree, facts: Mapping[str, object]) -> None:
    """Write AdamW's first and second moments, trees like the parameters', and `facts` about the training, atomically.

    The file holds tensors `mu.NAME` and `nu.NAME`, float32, and in its metadata `facts`
    as JSON under `training`, and a `digest` of both.
    """
    trees = {"mu": flatten(mu), "nu": flatten(nu)}
    tensors = {f"{kind}.{name}": np.asarray(leaf) for kind, tree in trees.items() for name, leaf in tree.items()}
    # As bytes: where the disk is full, the library raises an error of its own.
    write_bytes(path, to_bytes(tensors, optimizer_metadata(tensors, json.dumps(facts, allow_nan=False))))


def read_bundle(path: Path) -> Bundle:
    """Read a bundle; UserError when the file is not one, is of another version, or is damaged."""
    held = open_contents(path, "weights", *read_tensors(path, "weights"))
    try:
        config = from_json(held.config, held.plugins)
        tables = check_process(held.alphas_cumprod, held.tables, config.diffusion.timesteps)
    except UserError as error:
        raise UserError(f"weights {path}: {error}") from None
    return Bundle(held.weights, Published(held.alphas_cumprod, tables), config, held.networks)


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


def open_bundle(path: Path) -> tuple[Problem, Tree, Tree]:
    """What sampling with a bundle takes: (problem, params, stats).

    Raises UserError for a file that is no bundle, or whose weights do not fill its network.
    """
    bundle = read_bundle(path)
    network, params, stats = outline(bundle.config)
    params, stats = _filled(path, bundle, params, stats)
    others, config = _others(path, bundle, params, stats), bundle.config
    if config.codec.learned:
        config = replace(config, codec=config.codec.filled(others.pop(CODEC)[0]))
    problem = Problem.of(network, config, bundle.published)
    problem.process.tables = bundle.published.tables
    return problem._replace(others=others), params, stats


def warm_start(path: Path, config: Config, params: Tree, stats: Tree) -> NamedNetworks:
    """All networks of a bundle; the denoiser in trees of the shapes of `params` and `stats`.

    Others of the same names are divided as the denoiser is; one with other names, a tree of all it holds, has no
    statistics of its own. Raises UserError for a bundle whose network, codec, prediction or number of timesteps differs
    from the config's, and for a name of the denoiser that is left over.
    """
    bundle = read_bundle(path)
    _check_network(path, bundle.config, config)
    return {DENOISER: _filled(path, bundle, params, stats), **_others(path, bundle, params, stats)}


def _others(path: Path, bundle: Bundle, params: Tree, stats: Tree) -> dict[str, tuple[Tree, Tree]]:
    """The networks other than the denoiser, in trees like its own where they have its names."""
    held, names, codec = {}, bundle.weights.keys(), bundle.config.codec
    if isinstance(codec, LearnedCodecConfig):
        template = jax.eval_shape(codec.fresh, jax.random.key(0))
        held[CODEC] = fill(template, bundle.networks.get(CODEC, {}), f"weights {path}, network {CODEC},"), {}
    for name, weights in bundle.networks.items():
        if name == DENOISER or name in held:
            continue
        where, alike = f"weights {path}, network {name},", weights.keys() == names
        held[name] = (fill(params, weights, where), fill(stats, weights, where)) if alike else (_nested(weights), {})
    return held


def _nested(weights: Mapping[str, np.ndarray]) -> Tree:
    """The inverse of `flatten`."""
    tree: dict[str, Any] = {}
    for name, value in weights.items():
        *path, last = name.split(".")
        place = tree
        for key in path:
            place = place.setdefault(key, {})
        place[last] = jnp.array(value)
    return tree


def _filled(path: Path, bundle: Bundle, params: Tree, stats: Tree) -> tuple[Tree, Tree]:
    """Trees like the ones given with the bundle's weights; UserError for a name left over or missing."""
    names = flatten(params).keys() | flatten(stats).keys()
    extra = sorted(bundle.weights.keys() - names)
    if extra:
        raise UserError(f"weights {path} hold {extra[0]}, which this network lacks; use the preset it was trained with")
    return fill(params, bundle.weights, f"weights {path}"), fill(stats, bundle.weights, f"weights {path}")


def _check_network(path: Path, theirs: Config, ours: Config) -> None:
    """Raise UserError, with the flags to add, where the network or what it predicts differs."""
    decisive = ("diffusion.prediction", "diffusion.timesteps")
    if theirs.diffusion.process not in ours.diffusion.accepts:
        decisive += ("diffusion.process",)
    free = marked(theirs, TRAINING_ONLY) | marked(ours, TRAINING_ONLY)
    apart = {
        name: values
        for name, values in differences(theirs, ours).items()
        if (name.startswith("model.") and name not in free) or name in decisive
    }
    if theirs.codec != ours.codec:
        raise UserError(
            f"weights {path} were trained with the codec {to_text(theirs.codec)}, not {to_text(ours.codec)}; add "
            f"--codec {shlex.quote(to_text(theirs.codec))}"
        )
    if not apart:
        return
    if "model.architecture" in apart:
        held, wanted = apart["model.architecture"]
        raise UserError(
            f"weights {path} were trained with model.architecture {held}, not {wanted}; "
            "use the preset it was trained with"
        )
    trained = " and ".join(f"{name} {_words(held)}" for name, (held, _) in apart.items())
    instead = " and ".join(_words(wanted) for _, wanted in apart.values())
    flags = " ".join(_flag(name.replace("_", "-"), held) for name, (held, _) in apart.items())
    raise UserError(f"weights {path} were trained with {trained}, not {instead}; add {flags}")


def _flag(name: str, value: object) -> str:
    """A setting as it is typed; one of two states has a flag for each."""
    if isinstance(value, bool):
        section, _, field = name.rpartition(".")
        return f"--{name}" if value else f"--{section}.no-{field}"
    return f"--{name} {_words(value)}".rstrip()


def _words(value: object) -> str:
    """A setting as it is typed after its flag."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
