"""Are the figures of an evaluation those of eyes? Pairs of pictures for someone who does not know what made them.

    python -m tests.figures.blind sheets --run runs/sharp --data.path DIR --output sheets --key key.json
    python -m tests.figures.blind score --key key.json --answers answers.json

`sheets` writes one picture for each pair of methods: rows of a picture A, the input, and a picture B, in random order.
The answers are an object {"name of the sheet": "ABA…"}: for each row the picture that is the more believable photograph
of what the input shows. `score` prints each method's share of rows won, its figures, and Spearman's rank correlation
of each figure with those shares.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np

from export.edge.disk.files import write_json
from export.edge.disk.reading import parse_json, read_text
from export.edge.errors import UserError, run
from export.edge.pictures.files import save_picture
from export.edge.pictures.sheets import grid
from jax_impl.config.command import parse
from jax_impl.diffusion.sampling import SamplingOptions
from jax_impl.evaluate import EvaluationData, data_config
from jax_impl.evaluation.held_out import HeldOut, open_held_out
from jax_impl.evaluation.methods import Method, baselines, each, of_run
from jax_impl.evaluation.report import chosen
from jax_impl.evaluation.scoring import METRICS, Scores, make_judge, score
from jax_impl.runs.folder import open_run
from jax_impl.runs.publishing import final_weights

SHOWN = ("pixel_ridge", "ridge_grey_2", "ridge_colour_8", "retrieval")
"""Baselines that are shown."""
ZOOM = 4


@dataclass(frozen=True)
class SheetArgs:
    """Write sheets of pairs of pictures, and the key that says what made them."""

    run: Path
    """Run folder of a model with a slider."""
    output: Path
    """Folder to make for the sheets."""
    key: Path
    """JSON file to write: what is on the sheets, and each method's figures."""
    data: EvaluationData = field(default_factory=EvaluationData)
    rows: int = 5
    """Pictures on a sheet."""
    seed: int = 0


@dataclass(frozen=True)
class ScoreArgs:
    """Compare answers with the figures."""

    key: Path
    answers: Path


def main(argv: Sequence[str] | None = None) -> None:
    """The first word says what to do."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["sheets"]:
        sheets(parse(SheetArgs, words[1:], "python -m tests.figures.blind sheets"))
    elif words[:1] == ["score"]:
        args = parse(ScoreArgs, words[1:], "python -m tests.figures.blind score")
        key, answers = (parse_json(read_text(path, "file")) for path in (args.key, args.answers))
        print("\n".join(report(key, answers)))
    else:
        raise UserError("name what to do: sheets or score")


def sheets(args: SheetArgs) -> None:
    """Draw with every method, score it, and write the sheets and the key."""
    trained = open_run(args.run)
    held_out = open_held_out(data_config(args.data, trained.config.data.size, trained.config.data.fit), "val")
    weights = final_weights(trained)
    ends = [
        of_run(f"realism {realism:g}", "", trained, weights, SamplingOptions(realism=realism)) for realism in (0.0, 1.0)
    ]
    known = {method.name: method for method in baselines(held_out)}
    methods = [*ends, *(known[name] for name in SHOWN), noisy(known["pixel_ridge"], held_out)]
    judge = make_judge(held_out, METRICS)
    scored = {method.name: score(judge, method, args.seed) for method in methods}
    figures = {name: badness(one) for name, one in scored.items()}
    rng = np.random.default_rng(args.seed)
    places = chosen(len(held_out.pairs.names), args.rows)
    args.output.mkdir()
    layout: dict[str, dict[str, object]] = {}
    for number, pair in enumerate(rng.permutation(list(combinations(scored, 2)))):
        turned = rng.integers(0, 2, len(places)).astype(bool)
        rows = []
        for place, turn in zip(places, turned, strict=True):
            a, b = (scored[str(name)].drawn[0, place] for name in (pair[::-1] if turn else pair))
            rows.append([big(a), big(held_out.pairs.cond[place]), big(b)])
        name = f"{number:02d}"
        save_picture(args.output / f"{name}.png", grid(rows, titles=("A", "input", "B")))
        layout[name] = {
            "A": [str(pair[int(turn)]) for turn in turned],
            "B": [str(pair[1 - int(turn)]) for turn in turned],
        }
    write_json(args.key, {"sheets": layout, "figures": figures})


def badness(scores: Scores) -> dict[str, float]:
    """Each figure, turned so that less is better."""
    return {
        name: float(METRICS[name].badness(scores.values[name]).mean()) if name in METRICS else float(estimate.value)
        for name, estimate in scores.estimates.items()
    }


def noisy(base: Method, held_out: HeldOut) -> Method:
    """A control: the pictures of a method with noise that brings their power spectrum to that of the targets."""
    wanted = np.mean([spectrum(target) for target in held_out.pairs.x0], axis=0)

    def add(picture: np.ndarray, seed: int) -> np.ndarray:
        plain = base.draw(picture[None], [seed])[0]
        missing = np.sqrt(np.maximum(wanted - spectrum(plain), 0.0))
        noise = np.fft.fft2(np.random.default_rng(seed).standard_normal(picture.shape[:2]))
        grey = np.fft.ifft2(noise / np.abs(noise).mean() * missing).real
        return np.clip(plain + grey[..., None] + 0.5, 0, 255).astype(np.uint8)

    return Method("noise", "ridge + noise of the targets' spectrum", each(add), chance=False)


def spectrum(picture: np.ndarray) -> np.ndarray:
    """Power of the brightness at each frequency, (height, width)."""
    grey = picture.astype(float).mean(axis=2)
    return np.abs(np.fft.fft2(grey - grey.mean())) ** 2


def big(picture: np.ndarray) -> np.ndarray:
    """Each pixel as a square."""
    return np.repeat(np.repeat(picture, ZOOM, 0), ZOOM, 1)


def report(key: Mapping[str, Mapping[str, Mapping[str, Sequence[str]]]], answers: Mapping[str, str]) -> list[str]:
    """Lines: wins and figures of each method, and how well each figure ranks as the answers do.

    Raises UserError for answers that do not fit the sheets.
    """
    won, shown = dict.fromkeys(key["figures"], 0), dict.fromkeys(key["figures"], 0)
    for name, sides in key["sheets"].items():
        given = answers.get(name, "")
        if len(given) != len(sides["A"]) or set(given) - {"A", "B"}:
            raise UserError(f"the answer to sheet {name} is {given!r}, not {len(sides['A'])} letters A or B")
        for row, letter in enumerate(given):
            for side in "AB":
                shown[sides[side][row]] += 1
                won[sides[side][row]] += side == letter
    share = {name: won[name] / shown[name] for name in won}
    figures = list(next(iter(key["figures"].values())))
    best_first = sorted(share.items(), key=lambda one: -one[1])
    lines = [f"{name}: preferred in {value:.0%} of {shown[name]} rows" for name, value in best_first]
    for figure in figures:
        values = [float(key["figures"][name][figure]) for name in share]  # Badness: less is better.
        lines.append(f"{figure}: rank correlation with the answers {-spearman(values, list(share.values())):+.2f}")
    return lines


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's rank correlation, ties by their mean rank; 0 where all values of one side are the same."""

    def ranks(values: Sequence[float]) -> np.ndarray:
        array = np.asarray(values)
        return np.array([(array < value).sum() + ((array == value).sum() - 1) / 2 for value in array])

    both = ranks(a), ranks(b)
    return float(np.corrcoef(both)[0, 1]) if all(np.ptp(one) > 0 for one in both) else 0.0


if __name__ == "__main__":
    run(main)
