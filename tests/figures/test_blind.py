"""The blind comparison: answers are counted, ranks are those of scipy, the control has the spectrum of the targets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from export.edge.errors import UserError
from jax_impl.config.data import DataConfig
from jax_impl.evaluation.held_out import open_held_out
from jax_impl.evaluation.methods import Method
from tests.figures.blind import main, noisy, report, spearman, spectrum

KEY = {
    "sheets": {
        "00": {"A": ["good", "bad"], "B": ["bad", "good"]},
        "01": {"A": ["good", "fair"], "B": ["fair", "good"]},
    },
    "figures": {
        "good": {"swd": 1.0, "drift": 3.0},
        "fair": {"swd": 2.0, "drift": 2.0},
        "bad": {"swd": 3.0, "drift": 1.0},
    },
}


def test_answers_are_counted_and_compared_with_the_figures() -> None:
    assert report(KEY, {"00": "AB", "01": "AA"}) == [
        "good: preferred in 75% of 4 rows",
        "fair: preferred in 50% of 2 rows",
        "bad: preferred in 0% of 2 rows",
        "swd: rank correlation with the answers +1.00",
        "drift: rank correlation with the answers -1.00",
    ]


@pytest.mark.parametrize("answers", [{"00": "AB"}, {"00": "AB", "01": "A"}, {"00": "AC", "01": "AA"}])
def test_answers_that_do_not_fit_are_refused(answers: dict[str, str]) -> None:
    with pytest.raises(UserError, match=r"the answer to sheet 0[01] is"):
        report(KEY, answers)


def test_the_command_reads_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, content in (("key", KEY), ("answers", {"00": "AA", "01": "AA"})):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    main(["score", "--key", str(tmp_path / "key.json"), "--answers", str(tmp_path / "answers.json")])
    assert "bad: preferred in 50% of 2 rows" in capsys.readouterr().out
    with pytest.raises(UserError, match="name what to do"):
        main(["guess"])


def test_ranks_are_scipys() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        a, b = rng.integers(0, 5, 8), rng.normal(size=8)
        assert spearman(a.tolist(), b.tolist()) == pytest.approx(spearmanr(a, b).statistic)


def test_the_control_has_the_spectrum_of_the_targets() -> None:
    held_out = open_held_out(DataConfig(path="synthetic", synthetic_pairs=3, synthetic_val_pairs=6, size=32), "val")
    flat = Method("flat", "flat", lambda pictures, seeds: np.full_like(pictures, 128), chance=False)
    drawn = noisy(flat, held_out).draw(held_out.pairs.cond, list(range(len(held_out.pairs.cond))))
    found, wanted = (np.mean([spectrum(one) for one in many], axis=0) for many in (drawn, held_out.pairs.x0))
    fine = np.add.outer(np.abs(np.fft.fftfreq(32)), np.abs(np.fft.fftfreq(32))) > 0.3
    assert 0.5 < found[fine].sum() / wanted[fine].sum() < 1.5
    assert found[fine].sum() > 100 * spectrum(np.full((32, 32, 3), 128))[fine].sum()
