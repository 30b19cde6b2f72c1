"""What a bundle says of the training inputs: of some of them, whole or read, and of the right ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from export.edge.errors import UserError
from export.edge.model.likeness import features, fit
from jax_impl.data.loader import LazyPairs, Pairs
from jax_impl.runs import likeness
from jax_impl.runs.folder import TrainedRun, open_run
from jax_impl.runs.publishing import likeness_of_inputs


def pairs(count: int) -> Pairs:
    cond = np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), np.uint8)
    return Pairs(tuple(map(str, range(count))), cond, cond[::-1])


def test_evenly_chosen_inputs_count_and_bad_ones_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likeness, "MOST_INPUTS", 20)
    held = pairs(61)
    chosen = np.stack([features(held.cond[i * 61 // 20]) for i in range(20)])
    known, wanted = likeness.likeness_of(held), fit(chosen)
    assert known is not None and wanted is not None and known.to_json() == wanted.to_json()

    def read(i: int) -> tuple[np.ndarray, np.ndarray]:
        if i == 0:
            raise UserError("broken")
        return held.cond[i], held.x0[i]

    lazy = likeness.likeness_of(LazyPairs(held.names, 16, read, str))
    wanted = fit(chosen[1:])
    assert lazy is not None and wanted is not None and lazy.to_json() == wanted.to_json()
    assert likeness.likeness_of(pairs(9)) is None


def test_other_pairs_or_none_are_said(trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained = open_run(trained_run)

    def said(run: TrainedRun) -> str:
        assert likeness_of_inputs(trained_run, run) is None  # Six pairs are too few in any case.
        return capsys.readouterr().err

    data = trained.config.data
    assert said(trained) == ""
    for other, part in (
        (replace(data, path=str(tmp_path / "none")), "none"),
        (replace(data, synthetic_pairs=7), "other"),
    ):
        line = said(replace(trained, config=replace(trained.config, data=other)))
        assert line.startswith("note: the bundle cannot say which photos are unlike") and part in line
        assert line.count("\n") == 1
