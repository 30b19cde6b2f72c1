"""The format of a bundle, `model.safetensors`, and of the state of AdamW that may be kept with it.

Tensors of a bundle: SCHEDULE, and float32 weights by dotted name. Those of another network than the denoiser begin with
that network's prefix. Metadata, all texts: `format`, `format_version`; `config`, the tree of settings as JSON;
`networks`, JSON, the prefix of each network by name; `plugins`, JSON, see `export.edge.plugins.Record`;
`weights_digest` and `digest`; perhaps `tables`, `training` and `likeness`, see OPTIONAL. Version 1 lacks `networks` and
`plugins`: it holds a denoiser, and needs no plugin.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from export.edge import plugins
from export.edge.disk.files import weights_digest
from export.edge.disk.reading import parse_json
from export.edge.errors import UserError
from export.edge.model.layout import DENOISER
from export.edge.model.likeness import Likeness, read_likeness
from export.edge.sampling.tables import Tables, read_tables, timesteps_of, write_tables

FORMAT = "dawn2dusk"
FORMAT_VERSION = "2"
SEALED = {"1": ("config",), "2": ("config", "networks", "plugins")}
"""By version, the metadata that `digest` covers, with OPTIONAL."""
OPTIONAL = ("tables", "training", "likeness")
"""Metadata that not every bundle has: the samplers' tables of a process that is not gaussian diffusion; JSON of
`Training`; that of `export.edge.model.likeness.Likeness`."""
SCHEDULE = "schedule.alphas_cumprod"
ONE_NETWORK = json.dumps({DENOISER: ""})
OPTIMIZER_FORMAT = "dawn2dusk-optimizer"
OPTIMIZER_VERSION = "1"


@dataclass(frozen=True)
class Training:
    """How far training had come when its weights were bundled."""

    steps: int
    """Training steps that were taken, in all stages together."""
    planned: int
    """Steps that the settings plan, likewise."""
    pictures: int
    """Pairs that these steps have seen, repeats counted."""


@dataclass(frozen=True)
class Contents:
    """What a bundle's metadata and digests vouch for."""

    config: str
    """The tree of settings, JSON."""
    alphas_cumprod: np.ndarray | None
    """As it is in the file, see `check_process`."""
    networks: Mapping[str, Mapping[str, np.ndarray]]
    """The weights of each network, by its name and by theirs."""
    plugins: plugins.Record
    weights_digest: str
    tables: str | None = None
    """Those of samplers, JSON, see `check_process`."""
    training: Training | None = None
    """How far training had come; None where the bundle does not say."""
    likeness: Likeness | None = None
    """What the training inputs look like; None where the bundle does not say."""

    @property
    def weights(self) -> Mapping[str, np.ndarray]:
        """Those of the denoiser."""
        return self.networks[DENOISER]


def bundle_tensors(
    networks: Mapping[str, Mapping[str, np.ndarray]], alphas_cumprod: np.ndarray | None
) -> dict[str, np.ndarray]:
    """The tensors of a bundle: weights by the network's name and theirs, and ᾱ (T,) unless there are tables."""
    named = {f"{_prefix(name)}{key}": value for name, weights in networks.items() for key, value in weights.items()}
    schedule = {} if alphas_cumprod is None else {SCHEDULE: np.asarray(alphas_cumprod, np.float64)}
    return {**named, **schedule}


def bundle_metadata(
    tensors: Mapping[str, np.ndarray],
    config: str,
    record: plugins.Record = (),
    networks: Iterable[str] = (DENOISER,),
    tables: Tables | None = None,
    training: Training | None = None,
    likeness: Likeness | None = None,
) -> dict[str, str]:
    """The metadata of a bundle with these tensors, configuration (JSON), networks and so on."""
    metadata = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "config": config,
        "networks": json.dumps({name: _prefix(name) for name in networks}),
        "plugins": json.dumps(record),
        "weights_digest": weights_digest(tensors),
        **({} if tables is None else {"tables": write_tables(tables)}),
        **({} if training is None else {"training": json.dumps(asdict(training))}),
        **({} if likeness is None else {"likeness": likeness.to_json()}),
    }
    return metadata | {"digest": digest_of(metadata)}


def digest_of(metadata: Mapping[str, str]) -> str:
    """The SHA-256 over the digest of a bundle's weights and the texts with them, 64 hexadecimal digits."""
    texts = [metadata[key] for key in ("weights_digest", *SEALED[metadata["format_version"]])]
    texts += [f"{key}\0{metadata[key]}" for key in OPTIONAL if key in metadata]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def open_contents(path: Path, what: str, metadata: Mapping[str, str], tensors: Mapping[str, np.ndarray]) -> Contents:
    """The checked contents of a file that `what` names in messages, such as "weights".

    Raises UserError for a file that is no bundle, is of another version, or is damaged.
    """
    found, version = metadata.get("format"), metadata.get("format_version", "")
    if found != FORMAT:
        raise UserError(
            f"{what} {path} has the format {found!r}: it was not written by jax_impl.bundle; make one of a run"
        )
    if version not in SEALED:
        raise UserError(
            f"{what} {path} has format version {version!r}, this program reads {' and '.join(SEALED)}; bundle the run "
            "again"
        )
    damaged = f"{what} {path}: {{}}; the file is damaged, bundle the run again"
    if weights_digest(tensors) != metadata.get("weights_digest"):
        raise UserError(damaged.format("its weights do not match their digest"))
    keys = {"format", "format_version", *SEALED[version], "weights_digest"}
    allowed = keys | {"digest", *(OPTIONAL if version != "1" else ())}
    if not keys <= metadata.keys() <= allowed:
        odd = ", ".join(sorted(metadata.keys() - allowed))
        raise UserError(damaged.format(f"its metadata hold {odd or 'no ' + min(keys - metadata.keys())}"))
    # A file of before there was a digest over the texts too is taken without one.
    if metadata.get("digest", None if version == "1" else "") not in (None, digest_of(metadata)):
        raise UserError(damaged.format("its config does not match its digest"))
    weights, where = {name: value for name, value in tensors.items() if name != SCHEDULE}, f"{what} {path}"
    if odd := next((name for name, value in weights.items() if value.dtype != np.float32), None):
        raise UserError(f"{what} {path}: {odd} is {weights[odd].dtype}, expected float32; bundle the run again")
    return Contents(
        metadata["config"],
        tensors.get(SCHEDULE),
        _split(weights, _parsed(metadata.get("networks", ONE_NETWORK), where), where),
        plugins.record(_parsed(metadata.get("plugins", "[]"), where), f"{where}: plugins"),
        metadata["weights_digest"],
        metadata.get("tables"),
        _training(_parsed(metadata["training"], where), where) if "training" in metadata else None,
        read_likeness(metadata["likeness"], f"{where}: likeness") if "likeness" in metadata else None,
    )


def optimizer_metadata(tensors: Mapping[str, np.ndarray], training: str) -> dict[str, str]:
    """The metadata of AdamW's moments, tensors `mu.NAME` and `nu.NAME`, and of facts about the training, JSON."""
    return {
        "format": OPTIMIZER_FORMAT,
        "format_version": OPTIMIZER_VERSION,
        "training": training,
        "digest": optimizer_digest(tensors, training),
    }


def optimizer_digest(tensors: Mapping[str, np.ndarray], training: str) -> str:
    """The digest over the moments and the text about the training."""
    return weights_digest({**tensors, "training": np.frombuffer(training.encode(), np.uint8)})


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


def _prefix(network: str) -> str:
    return "" if network == DENOISER else f"{network}/"


def _split(weights: Mapping[str, np.ndarray], networks: object, where: str) -> dict[str, dict[str, np.ndarray]]:
    """The weights of each network, under their names without its prefix."""
    if (
        not isinstance(networks, dict)
        or not all(isinstance(p, str) for p in networks.values())
        or DENOISER not in networks
    ):
        raise UserError(f"{where} names the networks {plugins.shown(networks)}; bundle the run again")
    split: dict[str, dict[str, np.ndarray]] = {name: {} for name in networks}
    longest_first = sorted(networks.items(), key=lambda item: -len(item[1]))
    for key, value in weights.items():
        name, prefix = next((item for item in longest_first if key.startswith(item[1])), (None, ""))
        if name is None:
            raise UserError(f"{where} holds {key}, which is of none of its networks; bundle the run again")
        split[name][key.removeprefix(prefix)] = value
    return split


def _training(value: object, where: str) -> Training:
    match value:
        case {"steps": int() as steps, "planned": int() as planned, "pictures": int() as pictures, **rest} if not rest:
            return Training(steps, planned, pictures)
    raise UserError(f"{where} says of its training {plugins.shown(value)}; bundle the run again")


def _parsed(text: str, where: str) -> object:
    try:
        return parse_json(text)
    except ValueError as error:
        raise UserError(f"{where} has metadata that is not JSON ({error}); bundle the run again") from error
