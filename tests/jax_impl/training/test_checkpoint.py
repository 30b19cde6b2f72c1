"""Checkpoints come back whole, or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint
import pytest

from export.edge.errors import UserError
from jax_impl.training.checkpoint import (
    DAMAGED,
    FOLDER,
    Damage,
    checkpoint_of,
    find_fault,
    list_checkpoints,
    remove_leftovers,
    restore,
    set_aside,
)
from jax_impl.training.manifest import files_of
from jax_impl.training.retention import Retention
from jax_impl.training.state import TrainState, to_arrays
from jax_impl.training.writer import save

MakeState = Callable[..., TrainState]
MANY = Retention(9, best=0)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, make_state: MakeState) -> Path:
    """Three checkpoints, the second one the best; copy it, don't change it."""
    run = tmp_path_factory.mktemp("saved")
    for step, val_loss in ((1, 0.3), (2, 0.1), (3, None)):
        save(run, make_state(step), MANY, epoch=step / 2, val_loss=val_loss)
    return run


@pytest.fixture
def run(saved: Path, tmp_path: Path) -> Path:
    shutil.copytree(saved, tmp_path / "run")
    return tmp_path / "run"


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def test_plain_orbax_reads_it(saved: Path, make_state: MakeState) -> None:
    """By the line that the model card has."""
    folder = checkpoint_of(saved, 3).folder
    found = orbax.checkpoint.StandardCheckpointer().restore(folder.absolute() / "state")
    wanted = to_arrays(make_state(3))
    assert set(found) == set(wanted)
    for name, array in wanted.items():
        np.testing.assert_array_equal(np.asarray(found[name]), np.asarray(array))


def test_round_trip_is_exact(saved: Path, make_state: MakeState) -> None:
    back, checkpoint, damages = restore(saved, make_state())
    state = make_state(3)
    assert (checkpoint.step, damages) == (3, [])
    assert jax.tree.structure(back) == jax.tree.structure(state)
    for (name, a), b in zip(to_arrays(state).items(), to_arrays(back).values(), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)
    assert float(jax.random.normal(back.key)) == float(jax.random.normal(state.key))


def test_no_flipped_bit_passes_in_any_file(run: Path) -> None:
    newest = list_checkpoints(run)[-1]
    assert find_fault(newest) is None
    rng = np.random.default_rng(0)
    for path in (newest.manifest, *files_of(newest.folder).values()):
        whole = path.read_bytes()
        for bit in rng.integers(0, 8 * len(whole), 8) if whole else ():
            flip(path, int(bit))
            assert find_fault(newest) is not None, (path, bit)
            path.write_bytes(whole)
        path.unlink()
        assert find_fault(newest) is not None, path
        path.write_bytes(whole)
    assert find_fault(newest) is None


@pytest.mark.parametrize("damage", ["data", "manifest", "exchanged", "no folder"])
def test_a_damaged_one_is_named_and_the_one_before_it_taken(run: Path, damage: str, make_state: MakeState) -> None:
    newest, before = checkpoint_of(run, 3), checkpoint_of(run, 1)
    if damage == "data":
        flip(max(files_of(newest.folder).values(), key=lambda p: p.stat().st_size), 7777)
    elif damage == "manifest":
        newest.manifest.write_text(newest.manifest.read_text().replace('"epoch": 1.5', '"epoch": 1.6'))
    elif damage == "exchanged":
        shutil.rmtree(newest.folder)
        shutil.copytree(before.folder, newest.folder)
        shutil.copy(before.manifest, newest.manifest)
    else:
        shutil.rmtree(newest.folder)
    _, checkpoint, (found,) = restore(run, make_state())
    assert checkpoint.step == 2
    assert str(found).startswith("step_00000003: ")
    # A reader moves nothing.
    assert newest.manifest.exists() and not (run / FOLDER / DAMAGED).exists()


def test_what_is_set_aside_is_whole_and_never_overwritten(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / FOLDER / DAMAGED / "step_00000003").mkdir(parents=True)
    newest = checkpoint_of(run, 3)
    files = {name: path.read_bytes() for name, path in files_of(newest.folder).items()}
    place = set_aside(Damage(newest, "d is damaged"))
    assert place == run / FOLDER / DAMAGED / "step_00000003-2"
    assert {name: path.read_bytes() for name, path in files_of(place).items()} == files
    assert place.with_suffix(".json").is_file()
    assert [c.step for c in list_checkpoints(run)] == [1, 2]
    (line,) = capsys.readouterr().err.splitlines()
    assert "step_00000003: d is damaged" in line and str(place) in line


def test_what_was_set_aside_by_half_ends_up_together(run: Path) -> None:
    newest = checkpoint_of(run, 3)
    (run / FOLDER / DAMAGED).mkdir()
    newest.folder.rename(run / FOLDER / DAMAGED / newest.folder.name)
    assert remove_leftovers(run) == []
    place = set_aside(Damage(newest, find_fault(newest) or ""))
    assert place.is_dir() and place.with_suffix(".json").is_file()


def test_a_folder_without_a_manifest_is_a_leftover(run: Path, make_state: MakeState) -> None:
    checkpoint_of(run, 3).manifest.unlink()
    (run / FOLDER / "step_00000009").mkdir()
    assert restore(run, make_state())[1].step == 2
    assert sorted(remove_leftovers(run)) == ["step_00000003", "step_00000009"]
    assert not checkpoint_of(run, 3).folder.exists() and checkpoint_of(run, 2).folder.exists()


def test_the_best_and_any_step_can_be_asked_for(run: Path, make_state: MakeState) -> None:
    assert restore(run, make_state(), "best")[1].step == 2
    assert int(restore(run, make_state(), "1")[0].step) == 1
    with pytest.raises(UserError, match=r"of step 7; there are \[1, 2, 3\]"):
        restore(run, make_state(), "7")
    flip(checkpoint_of(run, 2).manifest, 100)
    _, checkpoint, (damage,) = restore(run, make_state(), "best")
    assert (checkpoint.step, damage.checkpoint.step) == (1, 2)
    with pytest.raises(UserError, match="step_00000002"):
        restore(run, make_state(), "2")
    shutil.rmtree(run / FOLDER)
    save(run, make_state(4), MANY)
    with pytest.raises(UserError, match="choose --checkpoint newest"):
        restore(run, make_state(), "best")


def test_one_that_is_deleted_while_it_is_read_is_passed_over(
    run: Path,
    make_state: MakeState,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # What a run in training does to a reader: the files go between the check and the loading.
    newest = checkpoint_of(run, 3)

    def then_deleted(checkpoint: object) -> str | None:
        fault = find_fault(checkpoint)  # type: ignore[arg-type]
        if checkpoint == newest:
            newest.manifest.unlink()
            shutil.rmtree(newest.folder)
        return fault

    monkeypatch.setattr("jax_impl.training.checkpoint.find_fault", then_deleted)
    _, checkpoint, damages = restore(run, make_state())
    assert (checkpoint.step, damages) == (2, [])


def test_none_left_is_one_line(run: Path, tmp_path: Path, make_state: MakeState) -> None:
    with pytest.raises(UserError, match="no usable checkpoint; train it first"):
        restore(tmp_path / "nothing", make_state())
    for checkpoint in list_checkpoints(run):
        checkpoint.manifest.write_text("{")
    with pytest.raises(UserError, match=r"step_00000003.*step_00000002.*step_00000001"):
        restore(run, make_state())


def test_another_network_is_refused_by_name(saved: Path, make_state: MakeState) -> None:
    with pytest.raises(UserError, match="resume with the configuration"):
        restore(saved, make_state(width=4))
    with pytest.raises(UserError, match="ema"):
        restore(saved, make_state(ema=0.0))
