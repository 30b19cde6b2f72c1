"""What the parts of training exchange; it knows no settings, so that every part may import it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jax.sharding import Mesh

from jax_impl.data.loader import LazyPairs, Pairs


class Batch(NamedTuple):
    """Pairs as uint8 (pairs, size, size, 3)."""

    cond: jax.Array | np.ndarray
    x0: jax.Array | np.ndarray


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Guard:
    """Counts of the steps that were skipped (see `guard`)."""

    non_finite: jax.Array
    """Steps skipped because something was not finite, int32 scalar."""
    spikes: jax.Array
    """Steps skipped because of a loss spike, int32 scalar."""
    in_a_row: jax.Array
    """Steps skipped since the last one that was taken, int32 scalar."""
    mean_loss: jax.Array
    """Running mean of the loss of taken steps, float32 scalar; 0 before the first."""

    @property
    def skipped(self) -> jax.Array:
        """All steps that were skipped, int32 scalar."""
        return self.non_finite + self.spikes


@runtime_checkable
class StageState(Protocol):
    """The least that the state of a stage holds: a frozen dataclass, registered as a JAX pytree, of arrays."""

    @property
    def step(self) -> jax.Array:
        """Steps since the stage began, skipped ones included, int32 scalar."""
        ...

    @property
    def guard(self) -> Guard:
        """Counts of skipped steps."""
        ...


class SamplePictures(NamedTuple):
    """A few pairs and what the network makes of their inputs, each uint8 (pairs, size, size, 3)."""

    cond: np.ndarray
    generated: np.ndarray
    x0: np.ndarray


class Callback:
    """What a program learns of a training while it runs; a subclass overrides the methods that it needs.

    The primary process calls them between two steps, so they should be quick. An exception ends the training, which
    goes on from its newest checkpoint when it is resumed.
    """

    def on_start(self, step: int, steps: int) -> None:
        """A stage goes on after `step` of its `steps` steps."""

    def on_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """`step` was taken, counted from 1 in its stage; `metrics` is its record in metrics.jsonl, with `loss`."""

    def on_epoch(self, step: int, metrics: Mapping[str, float]) -> None:
        """An epoch ended with `step`; `metrics` is its record, with `train_loss` and, of held-out pairs, `val_loss`."""

    def on_pictures(self, step: int, pictures: SamplePictures) -> None:
        """Sample pictures were made after `step`."""


Metrics = dict[str, jax.Array]
StepFunction = Callable[[Any, Batch, "jax.Array | None", "jax.Array | int"], tuple[Any, Metrics]]
"""(state, pairs, indices, total) to the next state and the step's figures.

pairs and indices: as `Feed.batch` returns them. total: steps of the stage, a whole number, for what goes by the length
of training, such as a learning rate; the compiled program is the same for any. The state given is consumed. The figures
are scalars, among them `loss`, `learning_rate` and the marks of `guard.check_step`.
"""
NamedNetworks = Mapping[str, tuple[Any, Any]]
"""Networks by name, each its parameters and its BatchNorm statistics, trees of arrays."""


@runtime_checkable
class Stage(Protocol):
    """A part of a run: what it trains, and which networks it leaves to the stage after it and to the bundle."""

    def init(self, before: NamedNetworks, key: jax.Array) -> Any:
        """The state at step 0, a `StageState`; pure, so that its shapes can be had without computing it.

        `before`: what the stage before published; empty for the first stage, or the network of a bundle that training
        starts from. All randomness of the stage follows from `key`.
        """
        ...

    def make_step(self, per_epoch: int, mesh: Mesh) -> StepFunction:
        """The jitted training step, for a state and batches that lie on `mesh`; per_epoch: steps of an epoch."""
        ...

    def networks(self, state: Any) -> NamedNetworks:
        """The networks as they are in the middle of training, for validation and sample pictures; pure."""
        ...

    def make_validation(self) -> Callable[[NamedNetworks, Batch], float]:
        """A function from `networks` and held-out pairs to the validation loss; lower is better."""
        ...

    def make_pictures(self, cond: jax.Array | np.ndarray) -> Callable[[NamedNetworks], np.ndarray]:
        """A function from `networks` to the sample pictures for `cond`, both uint8 (pairs, size, size, 3)."""
        ...

    def publish(self, state: Any, open_pairs: Callable[[], Pairs | LazyPairs]) -> NamedNetworks:
        """The networks that the stage leaves, with the names, shapes and dtypes of `networks`.

        `open_pairs` gives the training pairs, to be called only where they are needed.
        """
        ...


@runtime_checkable
class GaugedStage(Protocol):
    """What a `Stage` may have besides: figures for the log that need more of its state than the networks."""

    def gauged(self, state: Any) -> Any:
        """What of a state the gauge looks at, a tree of arrays; pure."""
        ...

    def make_gauge(self) -> Callable[[Any, NamedNetworks, Batch, Batch], Mapping[str, float]]:
        """A function from `gauged`, `networks`, some training pairs and as many held-out ones to figures."""
        ...

    def warning(self, figures: Mapping[str, float]) -> str | None:
        """One line to print where the figures call for it."""
        ...
