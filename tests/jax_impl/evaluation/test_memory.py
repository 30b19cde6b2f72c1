"""Copies of training targets are found out; good, bad and ordinary pictures are not taken for them."""

from __future__ import annotations

import numpy as np
import pytest

from jax_impl.evaluation.memory import nearness


def pictures(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 12, 12, 3), dtype=np.uint8)


@pytest.mark.parametrize("count", [5, 300])
def test_distances_are_those_of_a_plain_search(count: int) -> None:
    truth, targets, drawn = pictures(4, 0), pictures(count, 1), pictures(8, 2).reshape(2, 4, 12, 12, 3)
    found = nearness(drawn, truth, targets)

    def rmse(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.sqrt(np.mean((a.astype(float) - b.astype(float)) ** 2)))

    expected = [
        np.mean([(min(rmse(d[i], t) for t in targets) + 0.5) / (rmse(d[i], truth[i]) + 0.5) for d in drawn])
        for i in range(4)
    ]
    np.testing.assert_allclose(found.ratio, expected, rtol=1e-5)
    assert found.drawn == 8


def test_a_copy_of_a_training_target_is_found_out() -> None:
    truth, targets = pictures(4, 0), pictures(50, 1)
    drawn = pictures(4, 2)
    drawn[1] = np.clip(targets[31].astype(int) + 3, 0, 255)
    found = nearness(drawn[None], truth, targets)
    assert (found.copied, found.drawn) == (1, 4)
    assert found.ratio[1] < 0.1 < 0.5 < found.ratio[0]


def test_the_truth_itself_is_no_copy() -> None:
    truth, targets = pictures(4, 0), pictures(50, 1)
    found = nearness(truth[None], truth, targets)
    assert found.copied == 0
    assert (found.ratio > 50.0).all()


def test_where_the_truth_is_among_the_training_targets_a_perfect_picture_is_no_copy() -> None:
    truth = pictures(4, 0)
    assert nearness(truth[None], truth, truth).copied == 0
