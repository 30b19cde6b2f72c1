"""Weights & Biases as a log of training: figures and sample pictures, online or, by WANDB_MODE=offline, in files."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from export.edge.disk.files import write_text
from export.edge.errors import UserError
from jax_impl.config.as_json import to_json
from jax_impl.config.tree import Config
from jax_impl.training.checkpoint import first_line, say

FOLDER = "wandb"
"""Of a run's folder, the one in which the library keeps its files."""
ID = "id.txt"
"""There, the name by which the service knows the run."""


NO_PICTURES: Mapping[str, np.ndarray] = {}


class Tracker:
    """A run of Weights & Biases: one for all stages, which every process that goes on with the training continues.

    Training does not depend on the service: where it fails, one line says so and nothing more is sent. Points that a
    resumed training repeats are sent again, at the same steps.
    """

    def __init__(self, config: Config, run: Path, stage: int) -> None:
        self._library = library()
        self._run: Any = None
        self._prefix = f"stage_{stage}/" if stage else ""
        self._attempt(lambda: self._open(config, run))

    def write(self, step: int, record: dict[str, float]) -> None:
        """Send the figures of a step."""
        self._send(step, record)

    def show(self, step: int, name: str, picture: np.ndarray) -> None:
        """Send a picture, uint8 (height, width, 3)."""
        self._send(step, {}, {name: picture})

    def flush(self) -> None:
        """Do nothing: the library writes on its own."""

    def close(self) -> None:
        """Wait until all is sent."""
        if self._run is not None:
            self._attempt(self._run.finish)

    def _open(self, config: Config, run: Path) -> None:
        path = run / FOLDER / ID
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            write_text(path, uuid.uuid4().hex[:12])
        self._run = self._library.init(
            project=config.train.wandb,
            name=run.resolve().name,
            id=path.read_text(encoding="utf-8").strip(),
            resume="allow",
            dir=str(run),
            config=json.loads(to_json(config)),
            settings=self._library.Settings(console="off"),
        )
        # By default every message is a step of its own, and a resumed training goes back by some.
        self._run.define_metric(f"{self._prefix}*", step_metric=f"{self._prefix}step")

    def _send(self, step: int, values: dict[str, float], pictures: Mapping[str, np.ndarray] = NO_PICTURES) -> None:
        def log(run: Any) -> None:
            shown = {name: self._library.Image(picture) for name, picture in pictures.items()}  # It writes a file.
            run.log({f"{self._prefix}{name}": value for name, value in {**values, **shown, "step": step}.items()})

        if (run := self._run) is not None:
            self._attempt(lambda: log(run))

    def _attempt(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:  # of many kinds: of the network, the disk, the service
            self._run = None
            say(f"warning: Weights & Biases failed ({first_line(error)}); training goes on without it")


def library() -> ModuleType:
    """The library. Raises UserError where it is not installed."""
    try:
        import wandb  # type: ignore[import-not-found]
    except ImportError as error:
        raise UserError(f"train.wandb needs {error.name or error}; `pip install wandb`, or leave it out") from None
    return wandb
