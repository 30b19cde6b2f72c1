"""Where the figures and sample pictures of a training go besides metrics.jsonl."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from jax_impl.config.tree import Config
from jax_impl.training import board, weights_and_biases


class Logger(Protocol):
    """A log of one stage; a method that raises OSError ends the training."""

    def write(self, step: int, record: dict[str, float]) -> None:
        """Take the figures of a step."""
        ...

    def show(self, step: int, name: str, picture: np.ndarray) -> None:
        """Take a picture, uint8 (height, width, 3)."""
        ...

    def flush(self) -> None:
        """Bring what was taken to disk."""
        ...

    def close(self) -> None:
        """Flush and close."""
        ...


def check_libraries(config: Config) -> None:
    """Raise UserError where a log that the settings ask for needs a library that is not installed."""
    if config.train.tensorboard:
        board.library()
    if config.train.wandb:
        weights_and_biases.library()


def open_loggers(config: Config, run: Path, first: int, stage: int) -> tuple[Logger, ...]:
    """The logs that the settings ask for, of a stage whose next step is `first`."""
    logs: list[Logger] = []
    if config.train.tensorboard:
        events = run / "tensorboard" / f"stage_{stage}" if stage else run / "tensorboard"
        logs.append(board.Board(events, first))
    if config.train.wandb:
        logs.append(weights_and_biases.Tracker(config, run, stage))
    return tuple(logs)
