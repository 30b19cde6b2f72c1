"""Lengths that fit a time: what is measured, who decides, and that a length never changes again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from export.edge.errors import UserError
from jax_impl.config.tree import Config, TrainConfig
from jax_impl.data.loader import Pairs, load
from jax_impl.runs.folder import open_run
from jax_impl.runs.plan import PLAN, read_plan, write_plan
from jax_impl.train import train
from jax_impl.training import planning
from jax_impl.training.checkpoint import folder_of
from jax_impl.training.mesh import make_mesh
from jax_impl.training.planning import RESERVE, Costs, seconds_of, steps_in
from jax_impl.training.report import read_log
from jax_impl.training.session import Session
from jax_impl.training.stages.registry import DenoisingStageConfig

SmallConfig = Callable[..., Config]


def session_of(config: Config, planned: dict[int, int] | None = None) -> Session:
    pairs = Pairs(tuple("abcdefgh"), *(np.zeros((8, 16, 16, 3), np.uint8) for _ in range(2)))
    return Session(config, Path("nowhere"), pairs, pairs, make_mesh(config), planned=planned or {})


def timed(config: Config, minutes: float) -> Config:
    optim = dataclasses.replace(config.optim, schedule="cosine", warmup_steps=0)
    return dataclasses.replace(config, optim=optim, train=dataclasses.replace(config.train, minutes=minutes))


def test_steps_and_what_an_epoch_ends_with_fill_the_time(small_config: SmallConfig) -> None:
    session = session_of(timed(small_config(), 1.0))
    per_epoch = session.length(0).per_epoch
    steps = steps_in(session, 0, 100.0, Costs(step=0.5, epoch=2.0))
    assert steps * (0.5 + 2.0 / per_epoch) <= (1.0 - RESERVE) * 100.0 < (steps + 1) * (0.5 + 2.0 / per_epoch)
    assert steps_in(session, 0, -3.0, Costs(1.0, 1.0)) == 1


def test_stages_share_the_time_as_their_epochs(small_config: SmallConfig) -> None:
    config = timed(small_config(epochs=6), 2.0)
    config = dataclasses.replace(config, stages=(DenoisingStageConfig(), DenoisingStageConfig(epochs=2)))
    session = session_of(config)
    assert [seconds_of(session, index) for index in (0, 1)] == [90.0, 30.0]


def test_a_plan_counts_only_where_minutes_are_asked_for(small_config: SmallConfig) -> None:
    config = timed(small_config(epochs=3), 1.0)
    length = session_of(config, {0: 7}).length(0)
    assert (length.total, length.epochs) == (7, -(-7 // length.per_epoch))
    asked = dataclasses.replace(config, train=dataclasses.replace(config.train, minutes=0.0))
    assert session_of(asked, {0: 7}).length(0).total == 3 * length.per_epoch


def test_more_minutes_than_the_hard_limit_are_refused() -> None:
    with pytest.raises(UserError, match=r"train.minutes is 6.*choose at most train.max_minutes \(5\)"):
        TrainConfig(minutes=6.0, max_minutes=5.0)
    assert TrainConfig(minutes=5.0, max_minutes=5.0).minutes == 5.0


def test_the_learning_rate_ends_where_the_planned_length_does_and_a_resumed_run_keeps_it(
    small_config: SmallConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = timed(small_config(epochs=50), 1.0)
    pairs = load(config.data, "train"), load(config.data, "val")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    # What the clock says differs from run to run, so the length is chosen here: one and a half epochs.
    per_epoch = Session(config, whole, *pairs, make_mesh(config)).length(0).per_epoch
    total = per_epoch + max(1, per_epoch // 2)
    measured = []
    monkeypatch.setattr(planning, "steps_in", lambda *given: measured.append(given) or total)
    assert train(config, whole, *pairs) == 0
    said = capsys.readouterr().out
    assert f"planned: {total} steps, " in said and "went to compiling and timing" in said
    assert measured[0][3].step > 0.0 and measured[0][3].epoch > 0.0
    assert read_plan(whole) == {0: total} and int(open_run(whole).state.step) == total
    records = read_log(whole)
    rates = [record["learning_rate"] for record in records if "learning_rate" in record]
    cosine = 0.5 * config.optim.learning_rate * (1.0 + np.cos(np.pi * np.arange(total) / total))
    np.testing.assert_allclose(rates, cosine, rtol=1e-5)
    ends = [record for record in records if "train_loss" in record]
    assert [record["step"] for record in ends] == [per_epoch, total]
    assert all("val_loss" in record for record in ends)

    # Stopped before its first checkpoint, as if killed: the plan alone is there.
    short = dataclasses.replace(config, train=dataclasses.replace(config.train, max_minutes=1.0))
    monkeypatch.setattr("jax_impl.training.progress.Progress.out_of_time", lambda self: True)
    assert train(short, killed, *pairs) == 0
    monkeypatch.undo()
    for path in folder_of(killed).glob("step_*.json"):
        path.unlink()
    monkeypatch.setattr(planning, "measure", None)
    assert train(config, killed, *pairs, resume=True) == 0
    one, other = (open_run(run).state.params for run in (whole, killed))
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_a_damaged_plan_is_named(tmp_path: Path) -> None:
    assert read_plan(tmp_path) == {}
    write_plan(tmp_path, {1: 20, 0: 5})
    assert read_plan(tmp_path) == {0: 5, 1: 20}
    tree = json.loads((tmp_path / PLAN).read_text())
    (tmp_path / PLAN).write_text(json.dumps({**tree, "steps": {"0": 6, "1": 20}}))
    with pytest.raises(UserError, match=r"plan .*plan.json is not as training wrote it"):
        read_plan(tmp_path)
