"""What the training benchmark found, and its table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from export.edge import markdown
from export.edge.timing import Entrant
from jax_impl.config.tree import Config

HEAD = ("", "JAX, ×", "images/s", "ms a step", "compile, s", "utilisation", "GFLOP a step: XLA, formula", "peak MB")


@dataclass
class Way(Entrant):
    """One way to train a case, and what it took; `error` in place of figures where it could not."""

    title: str
    facts: dict[str, Any] = field(default_factory=dict)
    step_seconds: list[float] = field(default_factory=list)
    """Of a step, in each round."""
    peak_bytes: int | None = None

    @property
    def median(self) -> float | None:
        """Seconds of a step, or None where there are none."""
        return statistics.median(self.step_seconds) if self.step_seconds and self.error is None else None


@dataclass
class Case:
    """A preset at a size, and the ways it was trained."""

    preset: str
    size: int
    batch_size: int
    dtype: str
    ways: list[Way] = field(default_factory=list)
    peak_flops: float | None = None
    """FLOP/s that the device can do at most."""
    top: list[list[Any]] = field(default_factory=list)
    """Operations of the profile that took longest, and their share."""

    @staticmethod
    def of(preset: str, config: Config) -> Case:
        """The case of a config, with nothing measured yet."""
        return Case(preset, config.data.size, config.train.batch_size, config.model.compute_dtype)

    @property
    def title(self) -> str:
        """What it is, in Markdown."""
        return f"`{self.preset}`, {self.size} × {self.size}, batch {self.batch_size}, {self.dtype}"


def case_table(cases: Sequence[Case]) -> list[str]:
    """Markdown, a line for each way to train; the first figure is how many times as fast JAX is as that way."""
    return markdown.table(
        HEAD, [[f"{case.title}: {way.title}", *_cells(case, way)] for case in cases for way in case.ways]
    )


def _cells(case: Case, way: Way) -> list[str]:
    ours, taken = case.ways[0].median, way.median
    facts, formula = way.facts, case.ways[0].facts.get("formula_flops")
    waited = facts.get("compile_seconds", facts.get("first_seconds"))
    if taken is None:
        compiled = "" if waited is None else f"{waited:.1f}"
        return [way.error or "not measured", "", "", compiled, *[""] * (len(HEAD) - 5)]
    counted = [facts.get("xla_flops"), facts.get("formula_flops")]
    return [
        f"{taken / ours:.2f}" if ours is not None else "",
        f"{case.batch_size / taken:.1f}",
        f"{1e3 * taken:.1f}",
        f"{waited:.1f}" if waited is not None else "",
        f"{100 * formula / taken / case.peak_flops:.1f} %" if formula and case.peak_flops else "",
        ", ".join(f"{flops / 1e9:.3g}" for flops in counted if flops is not None),
        f"{way.peak_bytes / 1e6:.0f}" if way.peak_bytes is not None else "",
    ]
