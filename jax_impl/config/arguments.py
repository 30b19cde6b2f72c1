"""The command line of training, derived from the tree of settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from export.edge import plugins
from export.edge.errors import UserError
from jax_impl.config.as_json import entry
from jax_impl.config.command import read
from jax_impl.config.fields import MOST_USED
from jax_impl.config.presets import PRESETS
from jax_impl.config.tree import Config
from jax_impl.data.sources.registry import find_layout
from jax_impl.diffusion.process import ProcessConfig
from jax_impl.runs.bundles import read_bundle
from jax_impl.runs.folder import read_config, read_plugins, read_settings
from jax_impl.training.stages.registry import DenoisingStageConfig

DEFAULT_PRESET = "seed"
PROGRAM = "python -m jax_impl.train"


@dataclass(frozen=True)
class TrainArgs(Config):
    """Train a paired image-to-image diffusion model."""

    output_dir: Path = field(default=Path("runs/latest"), metadata=MOST_USED)
    """Folder of the run; created if it is not there."""
    config: Path | None = None
    """JSON file with the settings to start from in place of a preset, such as config.json of another run folder;
    further flags change single settings."""
    resume: bool = field(default=False, metadata=MOST_USED)
    """Continue the run in --output-dir from its newest checkpoint."""
    init_from: Path | None = field(default=None, metadata=MOST_USED)
    """Start from the weights of this model.safetensors instead of random ones."""
    coordinator: str = ""
    """HOST:PORT of process 0, where several processes train together; each is started with the same command line."""
    processes: int = 0
    """Number of processes that train together, with --coordinator; 0 for one process alone."""
    process: int = -1
    """Number of this process, from 0 to one less than --processes; with --coordinator."""
    distributed: bool = False
    """Let SLURM, Open MPI or the TPU pod say which processes train together."""
    dry_run: bool = field(default=False, metadata=MOST_USED)
    """Print the memory and time that the run would take, measured on a few steps, and write nothing."""

    def settings(self) -> Config:
        """The settings without the folders."""
        return Config(**_settings(self))


def parse(argv: Sequence[str]) -> TrainArgs:
    """Settings from the words of a command line.

    The first word may name a preset. Without one, the file of --config is meant, with --resume the
    configuration that the run was started with, else `seed`.
    """
    words = plugins.take(argv, "jax")
    preset = None
    if words and not words[0].startswith("-"):
        preset = words.pop(0)
        PRESETS.find(preset, "preset")
    file = _typed(words, "--config")
    if preset is not None and file is not None:
        raise UserError(f"preset {preset} and --config {file} exclude each other; name one of them")
    record: plugins.Record = ()
    if file is not None:
        start = read_settings(Path(file))
    elif preset is None and "--resume" in words:
        run = Path(_typed(words, "--output-dir") or TrainArgs.output_dir)
        start, record = read_config(run), read_plugins(run)
    else:
        weights = _typed(words, "--init-from")
        start = of_preset(preset or DEFAULT_PRESET, None if weights is None else Path(weights))
    if _typed(words, "--stages") is not None:  # Those of the preset may be for its own process alone.
        start = replace(start, stages=(DenoisingStageConfig(),))
    default = TrainArgs(**_settings(_by_process(start, _typed(words, "--diffusion.process"))))
    args = read(TrainArgs, words, f"{PROGRAM} {preset or ''}".rstrip(), default=default, about=_about(preset))
    find_layout(args.data, record)
    return args


def _by_process(start: Config, name: str | None) -> Config:
    """The settings with those of another diffusion process by their defaults, where `name` is another's.

    Bounds of the clean estimate stay: a picture has them, a codec's state has not.
    Sample pictures then take as many steps as that process recommends. Raises UserError for an unknown process.
    """
    if name is None or name == start.diffusion.process:
        return start
    diffusion = entry(ProcessConfig, name, "--diffusion")
    train = replace(start.train, sample_steps=diffusion.sample_steps)
    return replace(start, diffusion=diffusion.bounded_as(start.diffusion), train=train)


def of_preset(name: str, weights: Path | None = None) -> Config:
    """The settings of a preset; of one for trained networks, with the network of the bundle that it starts from.

    Raises UserError for a name that no preset has.
    """
    start = PRESETS.find(name, "preset")()
    return start if weights is None or not start.stages[0].warm else _continuing(start, weights)


def args_of(config: Config, output_dir: Path, *, resume: bool = False, init_from: Path | None = None) -> TrainArgs:
    """What the command would read for these settings."""
    return TrainArgs(**_settings(config), output_dir=output_dir, resume=resume, init_from=init_from)


def _about(preset: str | None) -> str:
    """What the help says above the flags."""
    if preset is not None:
        return f"{TrainArgs.__doc__}\n\nThe defaults are those of the preset {preset}: {PRESETS[preset].__doc__}"
    known = "\n".join(f"  {name}: {make.__doc__ or name}" for name, make in PRESETS.items())
    return (
        f"{TrainArgs.__doc__}\n\nThe first word may be a preset ({DEFAULT_PRESET} if there is none):\n{known}\n\n"
        f"The flags below are those of {DEFAULT_PRESET}; for those of another preset: {PROGRAM} PRESET --help"
    )


def _settings(config: Config) -> dict[str, Any]:
    return {field.name: getattr(config, field.name) for field in fields(Config)}


def _continuing(config: Config, weights: Path) -> Config:
    """A preset for networks that are trained already, with the network of a bundle and what belongs to it."""
    theirs = read_bundle(weights).config
    diffusion = config.diffusion.continuing(theirs.diffusion)
    data = replace(config.data, size=theirs.data.size, crop_size=theirs.data.crop_size)
    return replace(config, model=theirs.model, codec=theirs.codec, diffusion=diffusion, data=data)


def _typed(words: Sequence[str], flag: str) -> str | None:
    """The value of a flag among words that are not parsed yet: which flags there are depends on it."""
    for i, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name.replace("_", "-") == flag:
            return value if equals else "".join(words[i + 1 : i + 2])
    return None
