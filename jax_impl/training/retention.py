"""Which checkpoints stay on disk: a pure function of what there is."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from jax_impl.config.tree import TrainConfig


@dataclass(frozen=True)
class Retention:
    """The newest, the best by validation loss, and some for good."""

    latest: int
    """At least 1."""
    best: int = 0
    every: int = 0
    """Epochs between those kept for good; 0 for none."""

    @staticmethod
    def of(config: TrainConfig) -> Retention:
        """As the settings say."""
        return Retention(config.keep_checkpoints, config.keep_best, config.keep_every)


@dataclass(frozen=True)
class CheckpointFacts:
    """What retention knows of a checkpoint."""

    step: int
    epoch: float | None = None
    """Epochs done; None where that is not known."""
    val_loss: float | None = None


def is_kept_for_good(entry: CheckpointFacts, policy: Retention) -> bool:
    """Whether the checkpoint ends an epoch that is a multiple of `policy.every`."""
    return policy.every > 0 and bool(entry.epoch) and entry.epoch % policy.every == 0  # type: ignore[operator]


def best_first(entries: Iterable[CheckpointFacts]) -> list[CheckpointFacts]:
    """Those with a validation loss, lowest first, of equals the newer."""
    scored = [
        (entry.val_loss, -entry.step, entry)
        for entry in entries
        if entry.val_loss is not None and math.isfinite(entry.val_loss)
    ]
    return [entry for *_, entry in sorted(scored, key=lambda item: item[:2])]


def to_delete(entries: Iterable[CheckpointFacts], policy: Retention) -> set[int]:
    """Steps of the checkpoints that no rule keeps."""
    entries = sorted(entries, key=lambda entry: entry.step)
    kept = {entry.step for entry in entries[-policy.latest :]}
    kept |= {entry.step for entry in best_first(entries)[: policy.best]}
    kept |= {entry.step for entry in entries if is_kept_for_good(entry, policy)}
    return {entry.step for entry in entries} - kept
