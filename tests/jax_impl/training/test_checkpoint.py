"""Checkpoints come back whole, or not at all."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from export.edge.errors import UserError
from jax_impl.config import Config, DataConfig, OptimConfig, SeedModelConfig
from jax_impl.training.checkpoint import FOLDER, find_fault, list_checkpoints, restore_newest, save
from jax_impl.training.optim import learning_rate, make_optimizer
from jax_impl.training.state import TrainState, create, to_arrays


def make_state(width: int = 2, step: int = 0, ema: float = 0.9) -> TrainState:
    config = Config(data=DataConfig(size=16), model=SeedModelConfig(width=width), optim=OptimConfig(ema_decay=ema))
    _, state = create(config, make_optimizer(config.optim, learning_rate(config.optim, 1, 1)))
    return dataclasses.replace(state, step=jnp.asarray(step, jnp.int32))


def test_round_trip_is_exact(tmp_path: Path) -> None:
    state = make_state(step=5)
    save(tmp_path, state, keep=2)
    back, checkpoint, problems = restore_newest(tmp_path, make_state())
    assert checkpoint.step == 5
    assert problems == []
    assert jax.tree.structure(back) == jax.tree.structure(state)
    for (name, a), b in zip(to_arrays(state).items(), to_arrays(back).values(), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)
    assert float(jax.random.normal(back.key)) == float(jax.random.normal(state.key))


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        save(tmp_path, make_state(step=step), keep=2)
    assert [c.step for c in list_checkpoints(tmp_path)] == [3, 4]
    assert sorted(p.name for p in (tmp_path / FOLDER).iterdir()) == [
        "step_00000003", "step_00000003.json", "step_00000004", "step_00000004.json",
    ]  # fmt: skip


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "add", "manifest"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_taken(tmp_path: Path, damage: str) -> None:
    save(tmp_path, make_state(step=1), keep=3)
    newest = save(tmp_path, make_state(step=2), keep=3)
    victim = max((p for p in newest.folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    data = bytearray(victim.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
        victim.write_bytes(data)
    elif damage == "truncate":
        victim.write_bytes(data[:-1])
    elif damage == "delete":
        victim.unlink()
    elif damage == "add":
        (newest.folder / "stranger").write_text("?")
    else:
        newest.manifest.write_text("{")
    assert find_fault(newest) is not None
    _, checkpoint, problems = restore_newest(tmp_path, make_state())
    assert checkpoint.step == 1
    assert "step_00000002" in problems[0]


def test_a_damaged_checkpoint_is_replaced_when_its_step_comes_again(tmp_path: Path) -> None:
    save(tmp_path, make_state(step=1), keep=3)
    newest = save(tmp_path, make_state(step=2), keep=3)
    next(p for p in newest.folder.rglob("*") if p.is_file() and p.stat().st_size > 0).write_bytes(b"damage")
    save(tmp_path, make_state(step=2), keep=3)
    _, checkpoint, problems = restore_newest(tmp_path, make_state())
    assert (checkpoint.step, problems) == (2, [])


def test_a_folder_without_a_manifest_is_a_leftover(tmp_path: Path) -> None:
    save(tmp_path, make_state(step=1), keep=3)
    leftover = tmp_path / FOLDER / "step_00000009"
    leftover.mkdir()
    assert restore_newest(tmp_path, make_state())[1].step == 1
    save(tmp_path, make_state(step=2), keep=3)
    assert not leftover.exists()


def test_none_left_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no usable checkpoint"):
        restore_newest(tmp_path, make_state())
    checkpoint = save(tmp_path, make_state(step=1), keep=1)
    checkpoint.manifest.write_text(json.dumps({"step": 1, "files": {}}))
    with pytest.raises(UserError, match="step_00000001"):
        restore_newest(tmp_path, make_state())


def test_another_network_is_refused_by_name(tmp_path: Path) -> None:
    save(tmp_path, make_state(width=2), keep=1)
    with pytest.raises(UserError, match="resume with the configuration"):
        restore_newest(tmp_path, make_state(width=4))
    with pytest.raises(UserError, match="ema"):
        restore_newest(tmp_path, make_state(width=2, ema=0.0))


def test_a_save_that_cannot_be_written_leaves_the_earlier_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, make_state(step=1), keep=1)

    def full(path: Path, value: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("jax_impl.training.checkpoint.write_json", full)
    with pytest.raises(OSError, match="No space left"):
        save(tmp_path, make_state(step=2), keep=1)
    monkeypatch.undo()
    assert restore_newest(tmp_path, make_state())[1].step == 1
    assert not (tmp_path / FOLDER / "step_00000002").exists()
