"""Training, sampling, scoring and exporting from Python: `jax_impl.fit(pairs) -> Run`.

Both names are exported by `jax_impl` itself, which imports this module, and with it JAX, when they are first used.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from export.edge import commands
from export.edge.errors import UserError
from export.edge.model.layout import BUNDLE
from export.edge.pictures.given import Picture, array_of
from jax_impl.config.arguments import args_of, of_preset
from jax_impl.config.as_json import with_settings
from jax_impl.config.data import part_of
from jax_impl.config.tree import Config
from jax_impl.data.splits import Split
from jax_impl.data.stored import check_pairs, store_pairs
from jax_impl.devices import memory_errors, start_devices
from jax_impl.diffusion.sampling import AS_RECOMMENDED, SamplingOptions
from jax_impl.evaluate import EvaluateArgs, EvaluationData, evaluate
from jax_impl.notebook import notebook_callbacks
from jax_impl.runs.folder import read_config
from jax_impl.runs.publishing import open_weights
from jax_impl.runs.translator import Translator, make_translator, translate_all
from jax_impl.train import launch
from jax_impl.training.checkpoint import NEWEST, last_stage, list_checkpoints
from jax_impl.training.interfaces import Callback
from jax_impl.training.lines import Lines
from jax_impl.training.report import read_log
from jax_impl.training.starting import check_new

Arrays = tuple[np.ndarray, np.ndarray]
"""Inputs and targets, each uint8 (pairs, height, width, 3)."""
PAIRS = "pairs"
"""The folder in a run folder that keeps pairs which were given as arrays."""


def fit(
    pairs: Path | str | Arrays,
    preset: str | Config = "tiny",
    *,
    output_dir: Path | str = "runs/latest",
    settings: Mapping[str, Any] | None = None,
    callbacks: Sequence[Callback] = (),
    init_from: Path | str | None = None,
) -> Run:
    """Train a model on pairs of pictures, as `python -m jax_impl.train` does.

    Ctrl-C, or the stop button of a notebook, ends training after the current step; the run is then returned as it is,
    and `Run.resume` continues it. In a notebook, progress and sample pictures are shown.

    Args:
        pairs: a folder of pairs, a manifest, `"synthetic"` for the built-in scenes, or arrays (inputs, targets), each
            uint8 (pairs, height, width, 3). Arrays are kept as PNG files in `pairs/` of the run folder.
        preset: the name of a preset, or all settings.
        output_dir: folder of the run, made if it does not exist. It must not hold a run yet.
        settings: settings to change, by the name of their flag without dashes: `{"train.epochs": 5}`. Values are as in
            JSON.
        callbacks: called while training runs, see `Callback`.
        init_from: a model.safetensors whose weights training starts from, in place of random ones.

    Raises UserError, in one line, for pairs, settings and files that cannot be used; then nothing was trained.
    """
    folder, weights = Path(output_dir), None if init_from is None else Path(init_from)
    config = of_preset(preset, weights) if isinstance(preset, str) else preset
    if isinstance(pairs, tuple):
        inputs, targets = pairs
        check_pairs(inputs, targets)
        config = with_settings(config, {**(settings or {}), "data.path": folder / PAIRS})
        check_new(folder)
        store_pairs(folder / PAIRS, inputs, targets)
    else:
        config = with_settings(config, {**(settings or {}), "data.path": pairs})
    launch(args_of(config, folder, init_from=weights), (*_shown(), *callbacks))
    return Run(folder)


@dataclass(frozen=True)
class Run:
    """A run folder that training has written, at its newest checkpoint: `Run("runs/mine")` opens an older one."""

    folder: Path

    def __init__(self, folder: Path | str) -> None:
        """Raises UserError for a folder that is no run."""
        object.__setattr__(self, "folder", Path(folder))
        read_config(self.folder)

    @property
    def config(self) -> Config:
        """The settings of the run."""
        return read_config(self.folder)

    @property
    def metrics(self) -> list[dict[str, float]]:
        """The records of metrics.jsonl: one for each step, and one for each epoch, which has `train_loss`."""
        return read_log(self.folder)

    @property
    def weights(self) -> Path:
        """The bundle model.safetensors that training left: weights, settings and schedule in one file."""
        return self.folder / BUNDLE

    def resume(self, settings: Mapping[str, Any] | None = None, callbacks: Sequence[Callback] = ()) -> Run:
        """Continue training from the newest checkpoint, with settings that a resumed run may change.

        A finished run is left as it is, unless `settings` has more epochs. Raises UserError as `fit` does.
        """
        config = with_settings(self.config, settings or {})
        launch(args_of(config, self.folder, resume=True), (*_shown(), *callbacks))
        return self

    @memory_errors()
    def sample(
        self,
        pictures: Sequence[Picture] | np.ndarray,
        steps: int | None = None,
        *,
        seed: int = 0,
        options: SamplingOptions = AS_RECOMMENDED,
        checkpoint: str = NEWEST,
    ) -> list[np.ndarray]:
        """Translate pictures with the weights of the run, in JAX.

        Args:
            pictures: arrays uint8 (height, width, 3), images of Pillow or paths, of any sizes.
            steps: sampling steps; default: what the run recommends.
            seed: seed of the start noise, 0 to 2^63 - 1; all pictures start from the same noise.
            options: all else about sampling.
            checkpoint: `newest`, `best` (lowest validation loss) or the number of a step.

        Returns a list of translations, uint8 (height, width, 3), each of the size of its picture. Raises UserError for
        pictures that cannot be read, and for options that the run does not have.
        """
        if not 0 <= seed < 2**63:
            raise UserError(f"seed {seed} is out of range; choose 0 to {2**63 - 1}")
        how = options if steps is None else replace(options, steps=steps)
        arrays = [array_of(picture) for picture in pictures]
        start_devices()
        there = list_checkpoints(self.folder, stage := last_stage(self.folder))
        newest = (stage, there[-1].step) if there else None
        return translate_all(_translator(self.folder, checkpoint, newest, how), arrays, seed)

    @memory_errors()
    def evaluate(
        self,
        output_dir: Path | str | None = None,
        *,
        split: Split = "val",
        steps: int | None = None,
        realism_curve: Sequence[float] = (),
        checkpoint: str = NEWEST,
    ) -> dict[str, Any]:
        """Score the run on the held-out pairs of its data, next to baselines, as `python -m jax_impl.evaluate` does.

        Args:
            output_dir: folder for the tables, the contact sheet and the plot; default: `evaluation` in the run folder.
            split: the pairs to score on: `val`, `test` or `train`.
            steps: sampling steps; default: what the run recommends.
            realism_curve: of a run with a slider, realisms to score in addition, such as (0, 0.5, 1).
            checkpoint: `newest`, `best` (lowest validation loss) or the number of a step.

        Returns what evaluation.json holds. Raises UserError where the split has no pairs.
        """
        folder = self.folder / "evaluation" if output_dir is None else Path(output_dir)
        data = part_of(EvaluationData, self.config.data)
        more = {"data": data, "split": split, "steps": steps, "realism_curve": tuple(realism_curve)}
        return evaluate(EvaluateArgs(folder, run=self.folder, checkpoint=checkpoint, **more))

    def export(self, output: Path | str | None = None, words: Sequence[str] = ()) -> Path:
        """Write the run as checked ONNX files, by `python -m export.to_onnx` in a process of its own.

        Args:
            output: folder to write; default: `artifact` in the run folder.
            words: further words of that command, such as `["--variants", "fp32", "int8"]`.

        Returns the folder. Raises UserError with the message of the command where it fails, and where what it needs,
        such as PyTorch, is not installed.
        """
        folder = self.folder / "artifact" if output is None else Path(output)
        print(commands.run_apart("export", [str(self.folder), "--output", str(folder), *words]), end="")
        return folder


def _shown() -> Sequence[Callback]:
    """What shows training: in a notebook a line and pictures in place, else lines of text."""
    return notebook_callbacks() or [Lines()]


@functools.lru_cache(maxsize=1)
def _translator(folder: Path, checkpoint: str, newest: tuple[int, int] | None, options: SamplingOptions) -> Translator:
    """Kept for the next pictures: most of the time goes into compiling. `newest` tells when training has gone on."""
    return make_translator(*open_weights(folder, None, checkpoint), options)
