"""The table of the training benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jax_impl.bench.training import Case, Way

HEAD = ("", "JAX, ×", "images/s", "ms a step", "compile, s", "utilisation", "GFLOP a step: XLA, formula", "peak MB")


def table(cases: Sequence[Case]) -> list[str]:
    """Markdown, a line for each way to train; the first figure is how many times as fast JAX is as that way."""
    rows = [f"| {' | '.join(HEAD)} |", "|" + " --- |" * len(HEAD)]
    for case in cases:
        rows += [f"| {case.title}: {way.title} | {' | '.join(_cells(case, way))} |" for way in case.ways]
    return rows


def _cells(case: Case, way: Way) -> list[str]:
    ours, taken = case.ways[0].median, way.median
    if taken is None:
        return [way.error or "not measured", *[""] * (len(HEAD) - 2)]
    facts, formula = way.facts, case.ways[0].facts.get("formula_flops")
    waited = facts.get("compile_seconds", facts.get("first_seconds"))
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
