"""What an evaluation leaves: the numbers as JSON, the same as Markdown tables, and a sheet of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from export.edge.markdown import table
from export.edge.pictures.sheets import grid
from jax_impl.evaluation.frontier import Curve, Standing, stand, to_json, verdict
from jax_impl.evaluation.held_out import HeldOut
from jax_impl.evaluation.scoring import Judge, Scores, wins
from jax_impl.evaluation.sets import SPECTRUM, SWD
from jax_impl.evaluation.statistics import MIN_SCENES_TO_RESAMPLE

RIVAL, CEILING = "baseline_run", "codec"
"""Keys of the run to compare with, and of the true targets that passed through the codec alone."""
PARTS = (
    (SWD, "SWD × 10³ by the side of the pyramid's level, pixels:", 1),
    (SPECTRUM, "Power above the targets' by octave, dB; above 0 in the finest octave is grain, below it is blur:", 1),
)
"""Figures of sets whose parts have a table."""
CURVES = ("steps", "realism")
"""Settings whose curves a report may have."""
CELL = 256
"""Smallest height of a picture on the contact sheet, pixels."""


def report_json(
    judge: Judge, scored: Sequence[Scores], warnings: Sequence[str], curves: Sequence[Curve], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything in plain values; the first of `scored` is what the others are compared with."""
    held_out, model = judge.held_out, scored[0]
    standing = standing_of(scored)
    pictures = {
        name: {
            "scene": held_out.scenes[i],
            **{s.method.name: {metric: values[:, i].tolist() for metric, values in s.values.items()} for s in scored},
        }
        for i, name in enumerate(held_out.pairs.names)
    }
    return {
        **facts,
        "data": {
            "path": held_out.data.path,
            "split": held_out.split,
            "pairs": len(held_out.pairs.names),
            "train_pairs": 0 if held_out.train is None else len(held_out.train.names),
            "scenes": len(judge.scenes) if held_out.scenes_known else None,
            "size": held_out.data.size,
        },
        "warnings": list(warnings),
        "interval": interval_note(judge),
        "fid_true_pictures": None if judge.features is None else len(held_out.pairs.names),
        "methods": {s.method.name: _method(s) for s in scored},
        "frontier": None if standing is None else to_json(standing),
        "verdict": [] if standing is None else verdict(model, standing),
        "against": {other.method.name: _against(model, other, len(judge.scenes)) for other in scored[1:]},
        **{f"{name}_curve": [] for name in CURVES},
        **{f"{curve.name}_curve": [_point(curve.name, *one, scored) for one in curve.points] for curve in curves},
        "pictures": pictures,
    }


def _point(name: str, value: float, scores: Scores, scored: Sequence[Scores]) -> dict[str, Any]:
    """A value of a setting, the figures with it and where it stands."""
    others = baselines_of(scored)
    return {name: value, **_figures(scores), "frontier": to_json(stand(scores, others)) if others else None}


def baselines_of(scored: Sequence[Scores]) -> list[Scores]:
    """Those without a network: all that is neither scored nor a run to compare with."""
    return [s for s in scored[1:] if s.method.name not in (RIVAL, CEILING)]


def standing_of(scored: Sequence[Scores]) -> Standing | None:
    """Where the first method stands among the baselines; None where there are none."""
    others = baselines_of(scored)
    return stand(scored[0], others) if others else None


def interval_note(judge: Judge) -> str:
    """What the intervals are over, and how far they can be trusted."""
    count, scenes = len(judge.held_out.pairs.names), len(judge.scenes)
    if not judge.held_out.scenes_known:
        return f"mean and 95 % bootstrap interval over {count} pictures"
    if scenes >= MIN_SCENES_TO_RESAMPLE:
        return f"mean and 95 % bootstrap interval over {scenes} scenes"
    return (
        f"mean and 95 % bootstrap interval over {count} pictures; they show {scenes} scenes only, so the intervals are "
        "too narrow to generalise from: count wins by scene"
    )


def _method(scores: Scores) -> dict[str, Any]:
    method, memory = scores.method, scores.memory
    return {
        "title": method.title,
        "draws": len(scores.drawn),
        "steps": method.steps,
        "sampler": method.sampler,
        "images_seen": method.images_seen,
        **_figures(scores),
        "best_of_draws": {name: estimate.to_json() for name, estimate in scores.best.items()},
        "diversity": None if scores.diversity is None else float(scores.diversity.mean()),
        "memory": None
        if memory is None
        else {"ratio": float(memory.ratio.mean()), "copied": memory.copied, "drawn": memory.drawn},
    }


def _figures(scores: Scores) -> dict[str, Any]:
    return {
        "metrics": {name: estimate.to_json() for name, estimate in scores.estimates.items()},
        "parts": {
            name: {part: estimate.to_json() for part, estimate in parts.items()}
            for name, parts in scores.parts.items()
            if len(parts) > 1
        },
        "signed_drift": scores.signed_drift.tolist(),
        "fid": scores.fid,
        "kid": scores.kid,
    }


def _against(model: Scores, other: Scores, scenes: int) -> dict[str, Any]:
    counts = wins(model, other)
    return {
        name: {**estimate.less(other.estimates[name]).to_json(), "wins": counts[name], "of": scenes}
        for name, estimate in model.estimates.items()
    }


def to_markdown(
    judge: Judge, scored: Sequence[Scores], warnings: Sequence[str], curves: Sequence[Curve], notes: Sequence[str]
) -> str:
    """The tables: every method's figures, wins over each, draws for the same input, curves."""
    held_out = judge.held_out
    data = held_out.data
    lines = [f"**WARNING: {warning}**\n" for warning in warnings]
    figures = [[s.method.title, *_cells(judge, s), *_extra(s)] for s in scored]
    lines += [
        f"{len(held_out.pairs.names)} pairs of {data.path} ({held_out.split}), {data.size} × {data.size}; "
        f"{interval_note(judge)}.",
        "",
        *table(["", *_titles(judge), *_extra_titles(judge)], figures),
        "",
        "Better is more for PSNR and SSIM, 1 for the sharpness ratio, and less for all others. Colour drift is the "
        "mean absolute difference of the channel means, levels of 255; beside it the signed one. SWD compares the "
        "texture of all pictures with that of all targets, the joint one input and output together. The spectrum is "
        "the mean difference of power over the octaves of brightness and colour. The last column: distance to the "
        "nearest training target over that to the truth, and pictures that look copied from training.",
    ]
    kind = "scenes" if held_out.scenes_known else "pictures"
    rows = []
    for other in scored[1:]:
        counts = wins(scored[0], other)
        rows.append([other.method.title, *(str(counts[name]) for name in _names(judge))])
    lines += ["", f"In how many of {len(judge.scenes)} {kind} the first row is better:", ""]
    lines += table(["than", *_titles(judge)], rows)
    several = [s for s in scored if s.diversity is not None]
    if several:
        k = len(several[0].drawn)
        lines += ["", f"Of {k} draws for the same input the mean, and in brackets the best by each figure:", ""]
        names = list(judge.metrics)
        rows = [
            [
                s.method.title,
                *(_both(judge, name, s.estimates[name].value, s.best[name].value) for name in names),
                f"{s.diversity.mean():.2f}" if s.diversity is not None else "",
            ]
            for s in several
        ]
        lines += table(["", *(_title(judge, name) for name in names), "diversity (RMSE between draws)"], rows)
    for name, text, digits in PARTS:
        lines += ["", text, ""]
        parts = list(scored[0].parts[name])
        rows = [[s.method.title, *(_figure(s.parts[name][part].value, digits) for part in parts)] for s in scored]
        lines += table(["", *parts], rows)
    for curve in curves:
        lines += ["", f"{scored[0].method.title} by {curve.name} ({scored[0].method.sampler}), one draw each:", ""]
        rows = [[f"{value:g}", *_cells(judge, s), _signed(s), _in_front(s, scored)] for value, s in curve.points]
        lines += table([curve.name, *_titles(judge), "drift R, G, B", "joint SWD over the baselines'"], rows)
    standing = standing_of(scored)
    if standing is not None:
        lines += ["", *verdict(scored[0], standing)]
    return "\n".join([*lines, "", *notes, ""])


def _in_front(one: Scores, scored: Sequence[Scores]) -> str:
    """Its joint SWD over that of the baselines' frontier at its ΔE2000; "nearer in colour" than all of them."""
    others = baselines_of(scored)
    if not others:
        return "–"
    ratio = stand(one, others).ratio
    return (
        "nearest in colour" if ratio is None else f"{ratio.value:.2f} ({ratio.interval[0]:.2f}–{ratio.interval[1]:.2f})"
    )


def _extra_titles(judge: Judge) -> list[str]:
    fid = [] if judge.features is None else ["FID (drawn / true pictures)", "KID × 10³"]
    return ["drift R, G, B", "nearest training / truth (copied)", *fid]


def _names(judge: Judge) -> list[str]:
    return [*judge.metrics, *judge.sets]


def _title(judge: Judge, name: str) -> str:
    return (judge.metrics | judge.sets)[name].title


def _titles(judge: Judge) -> list[str]:
    return [_title(judge, name) for name in _names(judge)]


def _digits(judge: Judge, name: str) -> int:
    return (judge.metrics | judge.sets)[name].digits


def _cells(judge: Judge, scores: Scores) -> list[str]:
    cells = []
    for name in _names(judge):
        estimate, digits = scores.estimates[name], _digits(judge, name)
        low, high = estimate.interval
        cells.append(f"{_figure(estimate.value, digits)} ({_figure(low, digits)}–{_figure(high, digits)})")
    return cells


def _both(judge: Judge, name: str, mean: float, best: float) -> str:
    digits = _digits(judge, name)
    return f"{_figure(mean, digits)} ({_figure(best, digits)})"


def _extra(scores: Scores) -> list[str]:
    memory, (draws, count) = scores.memory, scores.drawn.shape[:2]
    near = "–" if memory is None else f"{memory.ratio.mean():.2f} ({memory.copied} of {memory.drawn})"
    features = [] if scores.fid is None else [f"{scores.fid:.1f} ({draws * count} / {count})"]
    features += [] if scores.kid is None else [_figure(1e3 * scores.kid, 2)]
    return [_signed(scores), near, *features]


def _signed(scores: Scores) -> str:
    return ", ".join(f"{value:+.1f}".replace("-", "−") for value in scores.signed_drift)


def _figure(value: float, digits: int) -> str:
    return f"{value:.{digits}f}".replace("-", "−")


def chosen(count: int, shown: int) -> list[int]:
    """Evenly spaced positions among `count` pictures."""
    return sorted({int(i) for i in np.linspace(0, count - 1, min(count, shown))})


def contact_sheet(held_out: HeldOut, scored: Sequence[Scores], shown: int) -> np.ndarray:
    """Rows of input, generated, target, then what the other methods make of it; uint8 (height, width, 3)."""
    pairs, (model, *others) = held_out.pairs, scored
    others = [s for s in others if s.method.name != "copy_input"]
    # Small pictures are enlarged in whole steps, pixel by pixel, so that the sheet shows what is there.
    zoom = max(1, CELL // held_out.data.size)
    rows = [
        [
            np.repeat(np.repeat(cell, zoom, 0), zoom, 1)
            for cell in (pairs.cond[i], model.drawn[0, i], pairs.x0[i], *(s.drawn[0, i] for s in others))
        ]
        for i in chosen(len(pairs.names), shown)
    ]
    return grid(rows, titles=("input", "generated", "target", *(s.method.title for s in others)))
