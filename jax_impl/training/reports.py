"""What a stage leaves for people to look at after every epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from export.edge.errors import describe_os_error
from export.edge.pictures.files import save_picture
from export.edge.pictures.sheets import grid
from jax_impl.data.loader import LazyPairs, Pairs, decode, tolerant
from jax_impl.training.checkpoint import say
from jax_impl.training.interfaces import Batch, GaugedStage, NamedNetworks, SamplePictures
from jax_impl.training.overhead import OVERHEAD
from jax_impl.training.report import PLOT, SAMPLES, plot_losses
from jax_impl.training.session import Position, Session

SHOWN_PAIRS = 4
"""Held-out pairs in a sample picture."""


class Reports:
    """What the primary process reports of a stage after every epoch: validation loss, sample pictures, loss plot."""

    def __init__(self, session: Session, position: Position) -> None:
        self.session, self.stage, held_out = session, position.index, session.held_out
        self.validation_loss = position.stage.make_validation()
        self.held_out = Batch(jnp.asarray(held_out.cond), jnp.asarray(held_out.x0)) if held_out.names else None
        self.measure, self.alarms = None, 0
        if isinstance(position.stage, GaugedStage) and held_out.names:
            self.measure, self.warning = position.stage.make_gauge(), position.stage.warning
            self.seen = first_pairs(session.pairs, len(held_out.names))
        self.shown = first_pairs(held_out if held_out.names else session.pairs)
        self.sample = position.stage.make_pictures(self.shown.cond)

    def validate(self, networks: NamedNetworks) -> float | None:
        """The validation loss; None without held-out pairs."""
        return None if self.held_out is None else self.validation_loss(networks, self.held_out)

    def gauge(self, state: Any, networks: NamedNetworks) -> Mapping[str, float]:
        """The figures of a `GaugedStage`; none of another, or without held-out pairs.

        Its warning is printed once, when two epochs in a row call for it.
        """
        if self.measure is None or self.held_out is None:
            return {}
        figures = self.measure(state, networks, self.seen, self.held_out)
        line = self.warning(figures)
        self.alarms = 0 if line is None else self.alarms + 1
        if line is not None and self.alarms == 2:
            say(line)
        return figures

    def epoch(self, step: int, networks: NamedNetworks, *, now: bool) -> np.ndarray | None:
        """Write sample pictures, where they are due at this epoch or asked for `now`, and the loss plot.

        Returns the sheet of the pictures, uint8 (height, width, 3), where there is one.
        """
        epoch, every = -(-step // self.session.length(self.stage).per_epoch), self.session.config.train.sample_every
        due = bool(every) and (now or epoch % every == 0)
        made = self._pictures(f"epoch_{epoch:04d}", step, networks) if due else None
        self.plot()
        return made

    def between(self, step: int, networks: NamedNetworks) -> np.ndarray | None:
        """Write sample pictures in the middle of an epoch, and return their sheet."""
        return self._pictures(f"step_{step:08d}", step, networks)

    def draw(self, networks: NamedNetworks) -> np.ndarray:
        """The sample pictures, uint8 (pairs, size, size, 3)."""
        return self.sample(networks)

    def plot(self) -> None:
        """Write the loss plot."""
        attempt(PLOT, lambda: plot_losses(self.session.folder))

    def overhead(self) -> None:
        """Write what digests and the like have cost."""
        overhead = self.session.overhead
        attempt(OVERHEAD, lambda: overhead.write(self.session.folder, self.session.seconds()))

    def _pictures(self, name: str, step: int, networks: NamedNetworks) -> np.ndarray:
        """Rows of input, generated and target picture, as a file of that name in training_samples."""
        made = SamplePictures(np.asarray(self.shown.cond), self.draw(networks), np.asarray(self.shown.x0))
        stage = f"stage_{self.stage}_" if self.stage else ""
        path, picture = self.session.folder / SAMPLES / f"{stage}{name}.png", sheet(made)

        def write() -> None:
            path.parent.mkdir(exist_ok=True)
            save_picture(path, picture)

        attempt(SAMPLES, write)
        for callback in self.session.callbacks:
            callback.on_pictures(step, made)
        return picture


class NoReports:
    """The reports of a process that is not the primary one: none."""

    def __init__(self, session: Session, position: Position) -> None: ...

    def validate(self, networks: NamedNetworks) -> None:
        """No validation loss."""

    def gauge(self, state: Any, networks: NamedNetworks) -> Mapping[str, float]:
        """No figures."""
        return {}

    def epoch(self, step: int, networks: NamedNetworks, *, now: bool) -> None:
        """No pictures."""

    def between(self, step: int, networks: NamedNetworks) -> None:
        """No pictures."""

    def draw(self, networks: NamedNetworks) -> None:
        """No pictures."""

    def plot(self) -> None:
        """Do nothing."""

    def overhead(self) -> None:
        """Do nothing."""


def sheet(made: SamplePictures) -> np.ndarray:
    """Sample pictures on one sheet, a row for each pair; uint8 (height, width, 3)."""
    return grid(list(zip(*made, strict=True)), titles=("input", "generated", "target"))


def attempt(what: str, write: Callable[[], object]) -> None:
    """Write what training can do without; print one line where the disk does not take it."""
    try:
        write()
    except OSError as error:
        say(f"warning: {what} was not written ({describe_os_error(error)}); training goes on")


def first_pairs(pairs: Pairs | LazyPairs, count: int = SHOWN_PAIRS) -> Batch:
    """The first few pairs of a set."""
    if isinstance(pairs, LazyPairs):
        good = tolerant(pairs)
        pairs = decode(replace(good, names=good.names[:count]))
    return Batch(pairs.cond[:count], pairs.x0[:count])
