"""A save is whole or was never there, and it does not hold up the steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp

from export.edge.errors import UserError
from jax_impl.training.checkpoint import DAMAGED, FOLDER, checkpoint_of, find_fault, list_checkpoints, restore
from jax_impl.training.manifest import files_of
from jax_impl.training.overhead import CARE, Overhead
from jax_impl.training.retention import Retention
from jax_impl.training.state import TrainState
from jax_impl.training.writer import CheckpointWriter, save

MakeState = Callable[..., TrainState]


def steps(run: Path) -> list[int]:
    return [checkpoint.step for checkpoint in list_checkpoints(run)]


def test_the_rules_of_retention_hold_on_disk(tmp_path: Path, make_state: MakeState) -> None:
    losses = {1: 0.1, 2: 0.4, 3: 0.3, 4: 0.2, 5: 0.5, 6: 0.6}
    with CheckpointWriter(tmp_path, Retention(1, best=1, every=2), Overhead()) as writer:
        for step, loss in losses.items():
            writer.submit(make_state(step), step / 2, loss)
    assert steps(tmp_path) == [1, 4, 6]
    names = {name for step in (1, 4, 6) for name in (f"step_{step:08d}", f"step_{step:08d}.json")}
    assert {p.name for p in (tmp_path / FOLDER).iterdir()} == names


def test_a_donated_state_is_saved_as_it_was(tmp_path: Path, make_state: MakeState) -> None:
    state = jax.tree.map(lambda leaf: leaf.copy(), make_state(1))
    before = np.array(jax.tree.leaves(state.params)[0])
    spoil = jax.jit(lambda tree: jax.tree.map(lambda x: x * 0 - 1, tree), donate_argnums=0)
    with CheckpointWriter(tmp_path, Retention(1), Overhead()) as writer:
        writer.submit(state, 1.0)
        spoil(state.params)
    back = restore(tmp_path, make_state())[0]
    np.testing.assert_array_equal(jax.tree.leaves(back.params)[0], before)


def test_a_step_that_comes_again_is_saved_where_it_is_not_whole(tmp_path: Path, make_state: MakeState) -> None:
    save(tmp_path, make_state(1), Retention(1))
    whole = checkpoint_of(tmp_path, 1).manifest.stat()
    save(tmp_path, make_state(1), Retention(1))
    assert checkpoint_of(tmp_path, 1).manifest.stat().st_mtime_ns == whole.st_mtime_ns
    max(files_of(checkpoint_of(tmp_path, 1).folder).values(), key=lambda p: p.stat().st_size).write_bytes(b"damage")
    save(tmp_path, make_state(1), Retention(1))
    assert find_fault(checkpoint_of(tmp_path, 1)) is None
    assert (tmp_path / FOLDER / DAMAGED / "step_00000001").is_dir()


def test_a_damaged_one_neither_counts_nor_goes(tmp_path: Path, make_state: MakeState) -> None:
    for step in (1, 2, 3):
        save(tmp_path, make_state(step), Retention(3))
    checkpoint_of(tmp_path, 2).manifest.write_text("{}")
    # A process of its own that resumed from step 3 knows nothing of the older ones yet.
    with CheckpointWriter(tmp_path, Retention(3), Overhead(), trusted=(3,)) as writer:
        writer.submit(make_state(4), 4.0)
    assert steps(tmp_path) == [1, 3, 4]
    assert (tmp_path / FOLDER / DAMAGED / "step_00000002.json").read_text() == "{}"


def test_a_save_that_fails_is_said_leaves_nothing_and_is_made_up_for(
    tmp_path: Path,
    make_state: MakeState,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    with CheckpointWriter(tmp_path, Retention(1), Overhead()) as writer:
        writer.submit(make_state(1), 1.0)
        writer.join()
        monkeypatch.setattr("jax_impl.training.writer.write_bytes", full)
        writer.submit(make_state(2), 2.0)
        writer.join()
        assert "the disk is full" in writer.failure
        assert steps(tmp_path) == [1]
        with pytest.raises(UserError, match=r"step_00000003 was not written .*the newest checkpoint is that of step 1"):
            writer.finish(make_state(3), 3.0)
        monkeypatch.undo()
        writer.finish(make_state(3), 3.0)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and all("was not written (the disk is full" in line for line in said)
    assert sorted(p.name for p in (tmp_path / FOLDER).iterdir()) == ["step_00000003", "step_00000003.json"]


def test_what_reads_otherwise_than_it_was_written_is_not_committed(
    tmp_path: Path,
    make_state: MakeState,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write = ocp.save

    def wrongly(path: str, arrays: dict[str, np.ndarray]) -> None:
        name = max(arrays, key=lambda n: arrays[n].nbytes)
        changed = arrays[name].copy()
        changed.view(np.uint8).flat[0] ^= 1
        write(path, {**arrays, name: changed})

    save(tmp_path, make_state(1), Retention(1))
    monkeypatch.setattr("orbax.checkpoint.v1.save", wrongly)
    with pytest.raises(UserError, match="does not read as it was written"):
        save(tmp_path, make_state(2), Retention(1))
    assert steps(tmp_path) == [1]


def test_a_folder_that_cannot_be_made(tmp_path: Path, make_state: MakeState) -> None:
    (tmp_path / FOLDER).write_text("a file")
    with pytest.raises(UserError, match="was not written"):
        save(tmp_path, make_state(1), Retention(1))


def test_what_care_costs_is_summed(tmp_path: Path, make_state: MakeState) -> None:
    overhead = Overhead()
    with CheckpointWriter(tmp_path, Retention(1), overhead) as writer:
        writer.finish(make_state(1), 1.0)
    seconds = overhead.seconds()
    assert all(seconds[kind] > 0 for kind in ("digests", "read-back", "manifests", "saving"))
    assert overhead.care() == sum(seconds[kind] for kind in CARE)
    line = overhead.line(2 * overhead.care())
    assert f"{overhead.care():.2f} s, 50.00 % of" in line
