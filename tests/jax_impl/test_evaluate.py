"""An evaluation that cannot flatter: the truth is perfect, a copy is a copy, a shuffle is worse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from export.edge.errors import UserError
from export.edge.metrics import psnr, ssim
from jax_impl.config import DataConfig
from jax_impl.data.loader import Pairs, load
from jax_impl.evaluate import chosen, copy_input, main, score, summary, to_markdown


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return load(DataConfig(size=32, synthetic_val_pairs=6), "val")


def test_the_truth_scores_perfectly(pairs: Pairs) -> None:
    truth = {pairs.cond[i].tobytes(): pairs.x0[i] for i in range(6)}
    results, drawn = score(pairs, lambda picture, seed: truth[picture.tobytes()], 0)
    assert all(r["psnr"] == 100.0 and r["ssim"] == pytest.approx(1.0) for r in results)
    np.testing.assert_array_equal(drawn, pairs.x0)


def test_a_copy_scores_what_the_metrics_say(pairs: Pairs) -> None:
    results, _ = score(pairs, copy_input, 0)
    for i, r in enumerate(results):
        assert r == {"psnr": psnr(pairs.cond[i], pairs.x0[i]), "ssim": ssim(pairs.cond[i], pairs.x0[i])}


def test_a_shuffled_pairing_is_worse(pairs: Pairs) -> None:
    noisy = np.clip(pairs.x0.astype(int) + 5, 0, 255).astype(np.uint8)
    answers = {pairs.cond[i].tobytes(): noisy[i] for i in range(6)}
    shuffled = {pairs.cond[i].tobytes(): noisy[(i + 1) % 6] for i in range(6)}
    right = summary(score(pairs, lambda p, s: answers[p.tobytes()], 0)[0])
    wrong = summary(score(pairs, lambda p, s: shuffled[p.tobytes()], 0)[0])
    for name in right:
        assert wrong[name]["high"] < right[name]["low"]


def test_every_picture_has_a_seed_of_its_own(pairs: Pairs) -> None:
    seeds: list[int] = []

    def watch(picture: np.ndarray, seed: int) -> np.ndarray:
        seeds.append(seed)
        return picture

    score(pairs, watch, 10)
    assert seeds == list(range(10, 16))


def test_the_interval_holds_the_mean_and_shrinks_to_it() -> None:
    spread = summary([{"psnr": float(v), "ssim": 0.5} for v in range(20)])
    assert spread["psnr"]["low"] < spread["psnr"]["mean"] == 9.5 < spread["psnr"]["high"]
    assert spread["ssim"] == {"mean": 0.5, "low": 0.5, "high": 0.5}


def test_the_table_shows_both_rows() -> None:
    row = {name: {"mean": 1.0, "low": 0.5, "high": 1.5} for name in ("psnr", "ssim")}
    data = {"path": "d", "split": "val", "pairs": 3, "size": 16}
    table = to_markdown({"data": data, "steps": 5, "sampler": "ddim", "model": row, "copy_input": row})
    assert "3 pairs of d (val)" in table
    assert "| copying the input | 1.00 (0.50–1.50) | 1.000 (0.500–1.500) |" in table


def test_shown_pairs_are_spread_evenly() -> None:
    assert chosen(16, 6) == [0, 3, 6, 9, 12, 15]
    assert chosen(2, 6) == [0, 1]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--artifact", "{d}/none.onnx", "--output-dir", "{d}/e"], "none.onnx"),
        (["--artifact", "{d}/none.onnx", "--output-dir", "{d}/no/e"], "does not exist; create it"),
        (["--artifact", "{d}/none.onnx", "--output-dir", "{d}/e", "--shown", "0"], "--shown is 0"),
    ],
)
def test_bad_input(tmp_path: Path, words: list[str], part: str) -> None:
    with pytest.raises(UserError, match=part):
        main([word.format(d=tmp_path) for word in words])
    assert list(tmp_path.iterdir()) == []
