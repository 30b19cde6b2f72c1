"""Domination and the front, by hand; the verdict says what a person would do next; the plot is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jax_impl.evaluation.frontier import Curve, dominated, front, height, plot, stand, verdict
from jax_impl.evaluation.held_out import HeldOut
from jax_impl.evaluation.memory import Nearness
from jax_impl.evaluation.methods import Method
from jax_impl.evaluation.scoring import Judge, Scores, score
from jax_impl.evaluation.sets import JOINT
from jax_impl.evaluation.smoothing import gaussian_blur

POINTS = np.array([[2.0, 30.0], [4.0, 10.0], [5.0, 20.0], [9.0, 9.0], [2.0, 40.0]])


def scores(judge: Judge, drawn: np.ndarray, title: str) -> Scores:
    return score(judge, Method(title, title, lambda cond, seeds: drawn, chance=False))


@pytest.fixture(scope="module")
def made(judge: Judge, held_out: HeldOut) -> dict[str, Scores]:
    truth = held_out.pairs.x0.astype(np.float64)
    rng = np.random.default_rng(0)
    pictures = {
        "near": truth + rng.normal(0.0, 3.0, truth.shape),
        "blurred": gaussian_blur(truth, 2.0),
        "grainy": truth + rng.normal(0.0, 30.0, truth.shape),
        "shifted": np.roll(truth, 3, axis=2) + 20.0,
    }
    return {name: scores(judge, np.clip(p, 0, 255).astype(np.uint8), name) for name, p in pictures.items()}


def test_the_front_and_its_height_by_hand() -> None:
    assert dominated(POINTS, POINTS).any(axis=1).tolist() == [False, False, True, False, True]
    assert front(POINTS).tolist() == [[2.0, 30.0], [4.0, 10.0], [9.0, 9.0]]
    assert height(POINTS, 1.9) == np.inf
    assert [height(POINTS, x) for x in (2.0, 3.0, 6.5, 20.0)] == [30.0, 20.0, 9.5, 9.0]


def test_a_method_better_in_both_dominates(made: dict[str, Scores]) -> None:
    standing = stand(made["shifted"], [made["near"], made["blurred"]])
    assert standing.better == ("near", "blurred") and standing.share == 1.0
    assert standing.ratio is not None and standing.ratio.interval[0] > 1.0
    assert verdict(made["shifted"], standing)[0].endswith("joint SWD: near; blurred.")
    best = stand(made["near"], [made["blurred"], made["shifted"]])
    assert best.better == () and best.share == 0.0


def test_in_front_of_the_line_is_a_ratio_below_1(made: dict[str, Scores]) -> None:
    """The model has the blurred picture's colour and half its joint distance."""
    half = made["blurred"].estimates[JOINT]
    model = replace(
        made["blurred"],
        estimates={
            **made["blurred"].estimates,
            JOINT: replace(half, value=half.value / 2, resampled=half.resampled / 2),
        },
    )
    standing = stand(model, [made["blurred"], made["shifted"]])
    assert standing.ratio is not None and standing.ratio.value == pytest.approx(0.5)
    assert standing.ratio.interval == pytest.approx((0.5, 0.5))
    assert "0.50 of the baselines' (0.50–0.50)" in verdict(model, standing)[0]


@pytest.mark.parametrize(
    ("name", "said"), [("blurred", "are blurred"), ("grainy", "have grain"), ("near", "as strong")]
)
def test_the_advice_follows_the_finest_octave(made: dict[str, Scores], name: str, said: str) -> None:
    assert said in verdict(made[name], stand(made[name], [made["shifted"]]))[1]


def test_copies_are_named_before_all_else(made: dict[str, Scores]) -> None:
    copies = replace(made["near"], memory=Nearness(np.ones(6), 3, 6))
    assert verdict(copies, stand(copies, [made["shifted"]]))[1].startswith("3 of 6 pictures look copied")


def test_the_plot(made: dict[str, Scores], tmp_path: Path) -> None:
    all_ = list(made.values())
    curves = [Curve("steps", [(2, all_[0]), (4, all_[1])]), Curve("realism", [(0.5, all_[1]), (1.0, all_[0])])]
    plot(all_, curves, all_[1:], tmp_path / "frontier.png")
    with Image.open(tmp_path / "frontier.png") as picture:
        colours = picture.convert("RGB").getcolors(1 << 20)
    assert colours is not None and {c for _, c in colours} >= {(200, 16, 46), (31, 78, 140)}
