"""An evaluation that cannot flatter: the truth is perfect, a copy is a copy, a shuffle is worse."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from export.edge.metrics import delta_e, psnr, ssim
from jax_impl.evaluation.baselines import copy_input
from jax_impl.evaluation.held_out import HeldOut
from jax_impl.evaluation.methods import Method, each
from jax_impl.evaluation.scoring import Judge, score, wins


def fixed(pictures: np.ndarray) -> Method:
    """A method that always answers with these."""
    return Method("model", "model", lambda cond, seeds: pictures, chance=False)


def nearly(held_out: HeldOut) -> np.ndarray:
    """The truth, a little too bright."""
    return np.clip(held_out.pairs.x0.astype(int) + 5, 0, 255).astype(np.uint8)


def test_the_truth_scores_perfectly(judge: Judge, held_out: HeldOut) -> None:
    scores = score(judge, fixed(held_out.pairs.x0))
    perfect = {"psnr": 100.0, "ssim": 1.0, "delta_e": 0.0, "sharpness": 1.0, "drift": 0.0}
    perfect |= {"swd": 0.0, "joint_swd": 0.0, "spectrum": 0.0}
    assert {name: scores.estimates[name].value for name in perfect} == pytest.approx(perfect)
    for name in perfect:
        assert scores.estimates[name].interval == pytest.approx((perfect[name], perfect[name]))
    assert [e.value for e in scores.parts["swd"].values()] == [0.0] * 2
    np.testing.assert_array_equal(scores.signed_drift, 0.0)
    assert scores.memory is not None and scores.memory.copied == 0


def test_a_copy_scores_what_the_metrics_say(judge: Judge, held_out: HeldOut) -> None:
    pairs = held_out.pairs
    scores = score(judge, Method("copy_input", "copy", each(copy_input), chance=False))
    for name, metric in (("psnr", psnr), ("ssim", ssim), ("delta_e", delta_e)):
        expected = [metric(a, b) for a, b in zip(pairs.cond, pairs.x0, strict=True)]
        assert scores.values[name][0].tolist() == pytest.approx(expected)
        assert scores.estimates[name].value == pytest.approx(np.mean(expected))
    np.testing.assert_allclose(scores.signed_drift, (pairs.cond.mean((1, 2)) - pairs.x0.mean((1, 2))).mean(0))


def test_a_shuffled_pairing_is_worse_in_everything_that_compares_pairs(judge: Judge, held_out: HeldOut) -> None:
    right = score(judge, fixed(nearly(held_out)))
    wrong = score(judge, fixed(np.roll(nearly(held_out), 1, axis=0)))
    for name in ("psnr", "ssim"):
        assert wrong.estimates[name].interval[1] < right.estimates[name].interval[0]
    assert wrong.estimates["delta_e"].interval[0] > right.estimates["delta_e"].interval[1]
    assert wrong.estimates["swd"].value > 2.0 * right.estimates["swd"].value
    assert wins(right, wrong)["delta_e"] == wins(right, wrong)["swd"] == len(held_out.pairs.names)
    assert wins(wrong, right)["psnr"] == 0


def test_equals_do_not_win(judge: Judge, held_out: HeldOut) -> None:
    scores = score(judge, fixed(nearly(held_out)))
    assert set(wins(scores, scores).values()) == {0}


def test_sharper_and_softer_than_the_truth_both_lose_to_it(judge: Judge, held_out: HeldOut) -> None:
    truth = held_out.pairs.x0
    noisy = np.clip(truth + np.random.default_rng(0).normal(0, 20, truth.shape), 0, 255).astype(np.uint8)
    flat = np.full_like(truth, 99)
    for other in (noisy, flat):
        assert wins(score(judge, fixed(truth)), score(judge, fixed(other)))["sharpness"] == len(truth)


def test_every_draw_of_every_picture_has_a_seed_of_its_own(judge: Judge) -> None:
    seen: list[int] = []

    def watch(pictures: np.ndarray, seeds: Sequence[int]) -> np.ndarray:
        seen.extend(seeds)
        return pictures

    score(judge, Method("model", "model", watch, chance=True), seed=10, draws=3)
    assert seen == list(range(10, 28))
    seen.clear()
    assert score(judge, Method("model", "model", watch, chance=False), seed=10, draws=3).diversity is None
    assert len(seen) == 6


def test_draws_are_averaged_and_the_best_of_them_is_told_apart(judge: Judge, held_out: HeldOut) -> None:
    truth = held_out.pairs.x0
    answers = {0: truth, 6: nearly(held_out), 12: np.zeros_like(truth)}
    scores = score(judge, Method("model", "model", lambda cond, seeds: answers[seeds[0]], chance=True), draws=3)
    assert scores.best["psnr"].value == 100.0 and scores.best["delta_e"].value == 0.0
    assert scores.best["sharpness"].value == 1.0
    assert scores.estimates["psnr"].value == pytest.approx(scores.values["psnr"].mean())
    assert scores.estimates["psnr"].value < 100.0

    def rmse(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.sqrt(np.mean((a.astype(float) - b.astype(float)) ** 2, axis=(1, 2, 3)))

    a, b, c = answers.values()
    expected = (rmse(a, b) + rmse(a, c) + rmse(b, c)) / 3
    assert scores.diversity is not None
    np.testing.assert_allclose(scores.diversity, expected, rtol=1e-5)


def test_draws_that_do_not_differ_have_no_diversity(judge: Judge) -> None:
    scores = score(judge, Method("model", "model", lambda cond, seeds: cond, chance=True), draws=2)
    assert scores.diversity is not None and scores.diversity.tolist() == [0.0] * 6
    assert scores.best["ssim"].value == pytest.approx(scores.estimates["ssim"].value)
