"""Near in colour against lifelike in texture: who is dominated, how far a model is in front, and what to do about it.

No method can be best at both (Blau, Michaeli 2018, "The perception-distortion tradeoff"), so methods are points in a
plane, and one is dominated where another is as good in both and better in one.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from export.edge.disk.files import atomic_file
from jax_impl.evaluation.scoring import Scores
from jax_impl.evaluation.sets import JOINT, SPECTRUM
from jax_impl.evaluation.statistics import Estimate
from jax_impl.training.quiet import quiet_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOUR, TEXTURE = "delta_e", JOINT
"""The axes."""
BLURRED, GRAINY = -1.5, 1.5
"""Power of the finest octave against the targets', dB: less is called blur, more is called grain."""
FAR, MOST = 1.4, 0.7
"""The plot ends at FAR times what this share of the methods stays below, and never before the scored method."""
COPIES = 0.05
"""Share of pictures that look copied from training from which on the verdict says so."""


@dataclass(frozen=True)
class Standing:
    """Where a method stands among the baselines."""

    better: tuple[str, ...]
    """Titles of the baselines that dominate it."""
    share: float
    """Of the resamples, those in which some baseline dominates it."""
    ratio: Estimate | None
    """Its joint SWD over that of the baselines' frontier at the same ΔE2000: below 1 it is in front, and 0 in resamples
    where it is nearer in colour than every baseline. None where it is that over all pictures."""


@dataclass(frozen=True)
class Curve:
    """One method with several values of one setting."""

    name: str
    """Of the setting: `steps` or `realism`."""
    points: list[tuple[float, Scores]]
    """Each value, and the scores with it."""


def dominated(points: np.ndarray, by: np.ndarray) -> np.ndarray:
    """bool (n, m): whether each of `points` (n, 2) is dominated by each of `by` (m, 2); less is better."""
    apart = points[:, None] - by[None]
    return np.asarray((apart >= 0).all(axis=2) & (apart > 0).any(axis=2))


def front(points: np.ndarray) -> np.ndarray:
    """Those of `points` (n, 2) that no other dominates, from the nearest in colour on."""
    kept = points[~dominated(points, points).any(axis=1)]
    return kept[np.argsort(kept[:, 0])]


def height(points: np.ndarray, colour: float) -> float:
    """Joint SWD of the line through the front of `points` at a ΔE2000; infinite before its first point."""
    kept = front(points)
    return np.inf if colour < kept[0, 0] else float(np.interp(colour, kept[:, 0], kept[:, 1]))


def stand(model: Scores, baselines: Sequence[Scores]) -> Standing:
    """Where a method stands, with intervals over the resamples that all of them share."""
    point, others = _values([model])[0], _values(baselines)
    beaten = dominated(point[None], others)[0]
    ours, theirs = _resampled([model])[:, 0], _resampled(baselines)
    share = np.mean([dominated(one[None], all_)[0].any() for one, all_ in zip(ours, theirs, strict=True)])
    level = height(others, point[0])
    if not np.isfinite(level):
        ratio = None
    else:
        ratios = np.array([one[1] / height(all_, one[0]) for one, all_ in zip(ours, theirs, strict=True)])
        ratio = Estimate(float(point[1] / level), ratios)
    titles = tuple(other.method.title for other, worse in zip(baselines, beaten, strict=True) if worse)
    return Standing(titles, float(share), ratio)


def verdict(model: Scores, standing: Standing) -> list[str]:
    """Two plain sentences: how good the pictures are beside the baselines, and what to do next."""
    return [_rank(standing), _advice(model)]


def _rank(standing: Standing) -> str:
    if standing.better:
        return f"Better than the model both in ΔE2000 and in joint SWD: {'; '.join(standing.better)}."
    if standing.ratio is None:
        return "No baseline is as near to the targets in colour."
    low, high = standing.ratio.interval
    if standing.ratio.value < 1.0:
        return (
            "No baseline is better both in ΔE2000 and in joint SWD: at the model's ΔE2000 its joint SWD is "
            f"{standing.ratio.value:.2f} of the baselines' ({low:.2f}–{high:.2f})."
        )
    return (
        "No single baseline is better in both, but the line through them is: at the model's ΔE2000 its joint SWD is "
        f"{standing.ratio.value:.2f} times the baselines' ({low:.2f}–{high:.2f})."
    )


def _advice(model: Scores) -> str:
    finest = next(iter(model.parts[SPECTRUM].values())).value
    memory, detail = model.memory, f"{finest:+.1f} dB in the finest octave".replace("-", "−")
    if memory is not None and memory.copied > COPIES * memory.drawn:
        return (
            f"{memory.copied} of {memory.drawn} pictures look copied from training: use more pairs or train for fewer "
            "epochs."
        )
    if finest < BLURRED:
        return f"The pictures are blurred ({detail}): train longer, or train the realism stage after it."
    if finest > GRAINY:
        return f"The pictures have grain or a lattice ({detail}): train longer, or use fewer sampling steps."
    return f"Fine detail is as strong as the targets' ({detail}): look at the contact sheet for what it shows."


def to_json(standing: Standing) -> dict[str, object]:
    """Plain values."""
    return {
        "dominated_by": list(standing.better),
        "dominated_in_resamples": standing.share,
        "joint_swd_over_baselines": None if standing.ratio is None else standing.ratio.to_json(),
    }


def plot(scored: Sequence[Scores], curves: Sequence[Curve], baselines: Sequence[Scores], path: Path) -> None:
    """Write the plane as a PNG: every method with its intervals, the front of the baselines, each curve as a line."""
    with quiet_matplotlib():
        from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 5.5), layout="constrained")
    axes = figure.add_subplot()
    if len(baselines) > 1:
        axes.plot(
            *front(_values(baselines)).T, color="#999999", linewidth=1.0, zorder=1, label="front of the baselines"
        )
    for curve, color in zip(curves, ("#1f4e8c", "#c8102e"), strict=False):
        line = _values([one for _, one in curve.points])
        axes.plot(*line.T, color=color, linewidth=1.5, marker=".", label=f"the model by {curve.name}")
        ends = {0: (4, 4), len(line) - 1: (-14, -10)}  # Those between would cover one another.
        for index, offset in ends.items():
            text = f"{curve.points[index][0]:g}"
            axes.annotate(text, line[index], textcoords="offset points", xytext=offset, fontsize=7, color=color)
    # Points far behind would squeeze all others: they are named below the plot.
    reach = FAR * np.quantile(_values(scored), MOST, axis=0).clip(_values(scored[:1])[0])
    outside = [one for one in scored[1:] if (_values([one])[0] > reach).any()]
    for one in scored:
        if one not in outside:
            _mark(axes, one, first=one is scored[0], baseline=one in baselines)
    beyond = "; ".join(f"{s.method.title} ({x:.1f}, {y:.0f})" for s in outside for x, y in _values([s]))
    lines = textwrap.wrap(f"beyond the plot: {beyond}", 110) if beyond else []
    axes.set_xlabel("\n".join(["ΔE2000: nearer in colour to the left", *lines]))
    axes.set_ylabel("joint SWD × 10³: more lifelike below")
    axes.set_title("Colour against texture, with 95 % intervals", fontsize=11)
    axes.set_ylim(bottom=0.0)
    axes.margins(x=0.2)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, fontsize=8)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _mark(axes: Axes, one: Scores, *, first: bool, baseline: bool) -> None:
    """A point with its intervals and its name."""
    x, y = one.estimates[COLOUR], one.estimates[TEXTURE]
    color = "#c8102e" if first else "#555555" if baseline else "#1f4e8c"
    axes.errorbar(
        x.value, y.value, xerr=_reach(x), yerr=_reach(y), color=color, ecolor=f"{color}66", elinewidth=1.0,
        fmt="s" if baseline else "o", markersize=5 if baseline else 8, zorder=2 if baseline else 3,
    )  # fmt: skip
    axes.annotate(
        one.method.title, (x.value, y.value), textcoords="offset points", xytext=(6, 5), fontsize=8, color=color,
        fontweight="normal" if baseline else "bold",
    )  # fmt: skip


def _reach(estimate: Estimate) -> list[list[float]]:
    low, high = estimate.interval
    return [[max(estimate.value - low, 0.0)], [max(high - estimate.value, 0.0)]]


def _values(scored: Sequence[Scores]) -> np.ndarray:
    """(methods, 2)"""
    return np.array([[one.estimates[axis].value for axis in (COLOUR, TEXTURE)] for one in scored])


def _resampled(scored: Sequence[Scores]) -> np.ndarray:
    """(resamples, methods, 2)"""
    return np.stack([[one.estimates[axis].resampled for axis in (COLOUR, TEXTURE)] for one in scored]).transpose(
        2, 0, 1
    )
