"""The command line of training, derived from the tree of settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import tyro

from export.edge import plugins
from jax_impl.config.as_json import entry, to_text
from jax_impl.config.command import read
from jax_impl.config.presets import PRESETS
from jax_impl.config.tree import Config
from jax_impl.diffusion.losses.registry import LossConfig
from jax_impl.model.codec import CodecConfig
from jax_impl.runs.bundles import read_bundle
from jax_impl.runs.folder import read_config
from jax_impl.training.stages.registry import StageConfig

DEFAULT_PRESET = "seed"
PROGRAM = "python -m jax_impl.train"

_RULES = tyro.constructors.ConstructorRegistry()


_WORDS = {LossConfig: "losses", StageConfig: "stages", CodecConfig: "codec"}
"""Base classes whose entries are typed as one word each, a name or a JSON object, and the settings that list them."""


@_RULES.primitive_rule
def _word(info: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec | None:
    """How an entry of `_WORDS` is typed."""
    base = next((base for base in _WORDS if isinstance(info.type, type) and issubclass(info.type, base)), None)
    if base is None:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="NAME|JSON",
        instance_from_str=lambda words: entry(base, words[0], _WORDS[base]),
        is_instance=lambda value: isinstance(value, base),
        str_from_instance=lambda value: [to_text(value)],
    )


@dataclass(frozen=True)
class TrainArgs(Config):
    """Train a paired image-to-image diffusion model."""

    output_dir: Path = Path("runs/latest")
    """Folder of the run; created if it is not there."""
    resume: tyro.conf.FlagCreatePairsOff[bool] = False
    """Continue the run in --output-dir from its newest checkpoint."""
    init_from: Path | None = None
    """Start from the weights of this model.safetensors instead of random ones."""
    coordinator: str = ""
    """HOST:PORT of process 0, where several processes train together; each is started with the same command line."""
    processes: int = 0
    """Number of processes that train together, with --coordinator; 0 for one process alone."""
    process: int = -1
    """Number of this process, from 0 to one less than --processes; with --coordinator."""
    distributed: tyro.conf.FlagCreatePairsOff[bool] = False
    """Let SLURM, Open MPI or the TPU pod say which processes train together."""
    dry_run: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print the memory and time that the run would take, measured on a few steps, and write nothing."""

    def config(self) -> Config:
        """The settings without the folders."""
        return Config(**_settings(self))


def parse(argv: Sequence[str]) -> TrainArgs:
    """Settings from the words of a command line.

    The first word may name a preset. Without one, `seed` is meant, or with --resume the
    configuration that the run was started with.
    """
    words = plugins.take(argv, "jax")
    if not words or (words[0] not in PRESETS and words[0] not in ("-h", "--help")):
        if "--resume" in words:
            default = _of_run(_output_dir(words))
            return read(TrainArgs, words, PROGRAM, about=TrainArgs.__doc__, default=default, registry=_RULES)
        words.insert(0, DEFAULT_PRESET)
    presets = {name: make() for name, make in PRESETS.items()}
    start = _path_in(words, "--init-from")
    if start is not None and words[0] in presets and presets[words[0]].stages[0].warm:
        presets[words[0]] = _continuing(presets[words[0]], start)
    kinds = tyro.extras.subcommand_type_from_defaults(
        {name: TrainArgs(**_settings(config)) for name, config in presets.items()},
        {name: make.__doc__ or name for name, make in PRESETS.items()},
        prefix_names=False,
    )
    return read(kinds, words, PROGRAM, about=TrainArgs.__doc__, registry=_RULES)


def _settings(config: Config) -> dict[str, Any]:
    return {field.name: getattr(config, field.name) for field in fields(Config)}


def _of_run(run: Path) -> TrainArgs:
    return TrainArgs(**_settings(read_config(run)), output_dir=run)


def _continuing(config: Config, weights: Path) -> Config:
    """A preset for networks that are trained already, with the network of a bundle and what belongs to it."""
    theirs = read_bundle(weights).config
    diffusion = theirs.diffusion
    if diffusion.process != config.diffusion.process:
        diffusion = replace(config.diffusion, timesteps=diffusion.timesteps)
    data = replace(config.data, size=theirs.data.size, crop_size=theirs.data.crop_size)
    return replace(config, model=theirs.model, codec=theirs.codec, diffusion=diffusion, data=data)


def _output_dir(words: Sequence[str]) -> Path:
    """The run folder among words that are not parsed yet: what it holds decides how they are."""
    return _path_in(words, "--output-dir") or TrainArgs.output_dir


def _path_in(words: Sequence[str], flag: str) -> Path | None:
    """The value of a flag among words that are not parsed yet; None where it is not among them."""
    for i, word in enumerate(words):
        name, _, value = word.replace("_", "-").partition("=")
        if name == flag:
            return Path(word.partition("=")[2]) if value else Path(words[i + 1] if i + 1 < len(words) else "")
    return None
