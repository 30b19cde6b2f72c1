"""One comparison as a line of a table, and the table as JSON and Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from export.edge.markdown import table

LEVELS = {
    "a": "blocks",
    "b": "whole network",
    "c": "loss and gradients",
    "d": "optimiser",
    "e": "diffusion process",
    "f": "samplers",
    "g": "ONNX file",
}
"""From the smallest part to the whole, in the order in which a fault is looked for."""

Measure = Literal["absolute", "relative"]


@dataclass(frozen=True)
class Line:
    """Two implementations of one quantity, and how far apart they are."""

    level: str
    """A key of LEVELS."""
    what: str
    """What is compared, with its shape."""
    pair: str
    """Who is compared, such as "JAX · torch"; the second one is the reference."""
    dtype: str
    absolute: float
    """Largest absolute difference of any element."""
    relative: float
    """Euclidean norm of the whole difference over that of the reference."""
    measure: Measure
    """Which of the two the tolerance bounds."""
    tolerance: float
    reason: str
    """Why that tolerance."""

    @property
    def error(self) -> float:
        return self.absolute if self.measure == "absolute" else self.relative

    @property
    def passed(self) -> bool:
        return self.error <= self.tolerance  # False for a NaN


def compare(
    level: str,
    what: str,
    ours: Any,
    reference: Any,
    *,
    pair: str = "JAX · torch",
    measure: Measure = "absolute",
    tolerance: float,
    reason: str,
) -> Line:
    """The Line for two arrays, or for two dicts of arrays with the same names, compared as one long vector.

    The dtype reported is that of `ours`. Raises ValueError where names or shapes
    differ, or where the reference is empty or all zero: such a comparison would show nothing.
    """
    found, wanted = _named(ours), _named(reference)
    if found.keys() != wanted.keys():
        raise ValueError(f"{what}: the names differ, {sorted(found.keys() ^ wanted.keys())[:4]}")
    largest, apart, norm = [0.0], 0.0, 0.0
    for name, want in wanted.items():
        have = found[name]
        if have.shape != want.shape:
            raise ValueError(f"{what}: {name or 'the array'} is {have.shape}, the reference {want.shape}")
        difference = np.abs(have.astype(np.float64) - want.astype(np.float64))
        largest.append(float(difference.max(initial=0.0)))
        apart += float(np.sum(np.square(difference)))
        norm += float(np.sum(np.square(want, dtype=np.float64)))
    if norm == 0.0:
        raise ValueError(f"{what}: the reference is empty or all zero")
    dtype = str(next(iter(found.values())).dtype)
    # np.max keeps a NaN, max() may drop it.
    return Line(level, what, pair, dtype, float(np.max(largest)), math.sqrt(apart / norm), measure, tolerance, reason)


def worst(
    level: str,
    what: str,
    ours: Mapping[str, np.ndarray],
    reference: Mapping[str, np.ndarray],
    *,
    pair: str = "JAX · torch",
    tolerance: float,
    reason: str,
    share: float = 0.0,
) -> Line:
    """The Line of the one array that is furthest off by its own norm, which a large one beside it cannot hide.

    Arrays whose norm is not above `share` of the norm of them all are left out. Raises
    ValueError like `compare`, and where nothing is left.
    """
    total = math.sqrt(sum(float(np.sum(np.square(want, dtype=np.float64))) for want in reference.values()))
    lines = [
        compare(
            level,
            f"{what} ({name})",
            ours[name],
            want,
            pair=pair,
            measure="relative",
            tolerance=tolerance,
            reason=reason,
        )
        for name, want in reference.items()
        if float(np.linalg.norm(want)) > share * total
    ]
    if not lines:
        raise ValueError(f"{what}: the reference is empty or all zero")
    return max(lines, key=lambda line: math.inf if math.isnan(line.relative) else line.relative)


def _named(values: Any) -> dict[str, np.ndarray]:
    if isinstance(values, Mapping):
        return {str(name): np.asarray(value) for name, value in values.items()}
    return {"": np.asarray(values)}


def to_json(lines: Iterable[Line], about: Mapping[str, Any]) -> dict[str, Any]:
    """The table as plain data: what was run, then every line with its verdict."""
    listed = [asdict(line) | {"passed": line.passed} for line in lines]
    # A table without lines has shown nothing.
    return {**about, "passed": bool(listed) and all(line["passed"] for line in listed), "lines": listed}


def to_markdown(lines: Sequence[Line], about: Mapping[str, Any]) -> str:
    """What was compared, the summary, and every line; the error that the tolerance bounds is bold."""
    head = "\n".join(f"- {name.replace('_', ' ')}: {_plain(value)}" for name, value in about.items())
    failed = sum(not line.passed for line in lines)
    verdict = f"All {len(lines)} lines pass." if not failed else f"**{failed} of {len(lines)} lines fail.**"
    columns = ("level", "what", "compared", "dtype", "max abs. error", "relative error", "tolerance", "why", "")
    every = [(line.level, line.what, line.pair, line.dtype, *_cells(line)) for line in lines]
    parts = ("# Parity", head, verdict, "## Summary", summary(lines), "## Every line", "\n".join(table(columns, every)))
    return "\n\n".join(parts) + "\n"


def summary(lines: Sequence[Line]) -> str:
    """A Markdown table with the line nearest to its tolerance of every level, pair, dtype and tolerance."""
    groups: dict[tuple, list[Line]] = {}
    for line in lines:
        # Tolerances that are measured, as a control's is, are each their own.
        groups.setdefault((line.level, line.pair, line.dtype, line.measure, line.tolerance), []).append(line)
    rows = []
    for group in groups.values():
        line = max(group, key=_strain)
        among = f" (worst of {len(group)})" if len(group) > 1 else ""
        rows.append((f"{line.level} {LEVELS[line.level]}", line.what + among, line.pair, line.dtype, *_cells(line)))
    columns = ("level", "what", "compared", "dtype", "max abs. error", "relative error", "tolerance", "why", "")
    return "\n".join(table(columns, rows))


def _strain(line: Line) -> float:
    """How near to its tolerance a line is; a failed one is nearest of all."""
    return line.error / line.tolerance if line.passed and line.tolerance > 0 else math.inf if not line.passed else 0.0


def _cells(line: Line) -> tuple[str, ...]:
    errors = [f"{value:.1e}" for value in (line.absolute, line.relative)]
    bounded = 0 if line.measure == "absolute" else 1
    errors[bounded] = f"**{errors[bounded]}**"
    return (*errors, f"{line.tolerance:.1e}", line.reason, "pass" if line.passed else "**FAIL**")


def _plain(value: object) -> str:
    return ", ".join(f"{name} {one}" for name, one in value.items()) if isinstance(value, Mapping) else str(value)
