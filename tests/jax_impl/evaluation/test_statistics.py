"""Intervals: they cover the truth as often as they claim, and scenes stay together."""

from __future__ import annotations

import numpy as np
import pytest

from jax_impl.evaluation.statistics import MIN_SCENES_TO_RESAMPLE as FEWEST
from jax_impl.evaluation.statistics import RESAMPLES, Estimate, by_scene, centred, resampling


def covered(values: np.ndarray, resamples: np.ndarray, truth: float) -> bool:
    low, high = Estimate(float(values.mean()), resamples @ values).interval
    return low <= truth <= high


def test_the_interval_over_pictures_covers_the_true_mean_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    resamples = resampling([str(i) for i in range(60)])
    hits = [covered(random.gamma(2.0, 1.0, 60), resamples, 2.0) for _ in range(400)]
    assert 0.91 <= np.mean(hits) <= 0.98


def test_the_interval_over_scenes_covers_where_one_over_pictures_is_too_narrow() -> None:
    # Pictures of a scene share most of their luck: 24 scenes of 5 pictures each.
    random = np.random.default_rng(1)
    scenes = [str(i // 5) for i in range(120)]
    whole, single = resampling(scenes), resampling([str(i) for i in range(120)])
    hits = []
    for _ in range(300):
        values = np.repeat(random.normal(0.0, 1.0, 24), 5) + random.normal(0.0, 0.3, 120)
        hits.append((covered(values, whole, 0.0), covered(values, single, 0.0)))
    over_scenes, over_pictures = np.mean(hits, axis=0)
    assert 0.88 <= over_scenes <= 0.98
    assert over_pictures < 0.75


def test_resamples_are_weights_that_keep_scenes_whole() -> None:
    scenes = [str(i % FEWEST) for i in range(3 * FEWEST)]
    resamples = resampling(scenes)
    assert resamples.shape == (RESAMPLES, len(scenes))
    np.testing.assert_allclose(resamples.sum(axis=1), 1.0)
    np.testing.assert_array_equal(resamples[:, :FEWEST], resamples[:, FEWEST : 2 * FEWEST])
    few = resampling(["a", "a", "b", "b"])
    assert (few[:, 0] != few[:, 1]).any()


def test_the_interval_holds_the_mean_and_shrinks_to_it() -> None:
    values = np.arange(20.0)
    resamples = resampling([str(i) for i in range(20)])
    spread = Estimate(9.5, resamples @ values).to_json()
    assert spread["low"] < spread["mean"] == 9.5 < spread["high"]
    same = Estimate(0.5, resamples @ np.full(20, 0.5)).to_json()
    assert same == pytest.approx({"mean": 0.5, "low": 0.5, "high": 0.5})


def test_a_difference_knows_what_two_methods_share() -> None:
    random = np.random.default_rng(2)
    hard = random.normal(0.0, 5.0, 30)
    resamples = resampling([str(i) for i in range(30)])
    a, b = (Estimate(float(v.mean()), resamples @ v) for v in (hard + 1.0, hard))
    low, high = a.less(b).interval
    assert (low, high) == pytest.approx((1.0, 1.0))
    assert a.interval[0] < b.interval[1]


def test_centred_resamples_lie_around_the_value() -> None:
    estimate = centred(2.0, np.array([5.0, 6.0, 7.0]))
    assert estimate.resampled.tolist() == [1.0, 2.0, 3.0]


def test_scene_means() -> None:
    weights = by_scene(["b", "a", "b"])
    np.testing.assert_allclose(weights @ np.array([1.0, 7.0, 3.0]), [7.0, 2.0])
