"""What is scored on, and the warnings where it was not kept apart from training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from export.edge.errors import UserError
from export.edge.pictures.files import save_picture
from jax_impl.config.data import DataConfig
from jax_impl.data.sources import sides
from jax_impl.data.sources.places import by_stem
from jax_impl.data.splits import Split
from jax_impl.data.synthetic import render_pair
from jax_impl.evaluation.held_out import HeldOut, open_held_out


def write(root: Path, split: str, name: str, seed: int) -> None:
    for side, picture in zip("AB", render_pair(seed, 32), strict=True):
        (root / split / side).mkdir(parents=True, exist_ok=True)
        save_picture(root / split / side / f"{name}.png", picture)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three scenes to train on, and three pictures of two others."""
    for seed, name in enumerate(("harbour_1", "harbour_2", "lake_1", "moor_1")):
        write(tmp_path, "train", name, seed)
    for seed, name in enumerate(("pier_1", "pier_2", "ridge_1")):
        write(tmp_path, "val", name, 10 + seed)
    return tmp_path


def opened(root: Path, split: Split = "val") -> HeldOut:
    return open_held_out(DataConfig(path=str(root), size=32), split)


def test_a_folder_is_read_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    monkeypatch.setattr(sides, "by_stem", lambda folder: read.append(folder) or by_stem(folder))
    opened(root)
    assert sorted(read) == [root / split / side for split in ("train", "val") for side in "AB"]


def test_scenes_that_were_kept_apart_raise_no_warning(root: Path) -> None:
    held_out = opened(root)
    assert held_out.warnings == ()
    assert held_out.scenes_known and held_out.scenes == ("pier", "pier", "ridge")
    assert held_out.sources == held_out.pairs.names == ("pier_1", "pier_2", "ridge_1")
    assert held_out.train is not None and len(held_out.train.names) == 4


def test_a_scene_that_train_shows_too(root: Path) -> None:
    write(root, "val", "lake_7", 50)
    assert opened(root).warnings == ("1 scenes of val are also in train (lake); scores are too good",)


def test_a_picture_that_train_holds_too(root: Path) -> None:
    write(root, "val", "island", 2)
    (warning,) = opened(root).warnings
    assert warning.startswith("1 of 4 val pairs have a picture that is also in train, such as island")


def test_scoring_the_training_pairs_themselves(root: Path) -> None:
    held_out = opened(root, "train")
    assert held_out.train is held_out.pairs
    assert held_out.warnings == ("these are the pairs of train itself; the scores say nothing about unseen pictures",)


def test_numbers_for_names_tell_no_scenes_apart(tmp_path: Path) -> None:
    for seed in range(5):
        write(tmp_path, "train" if seed < 3 else "val", f"{seed:04d}", seed)
    held_out = opened(tmp_path)
    assert not held_out.scenes_known and held_out.scenes == ("0003", "0004")
    assert held_out.warnings == ()


def test_without_training_pairs_there_is_nothing_to_learn_from(tmp_path: Path) -> None:
    write(tmp_path, "val", "pier", 0)
    held_out = opened(tmp_path)
    assert held_out.train is None and held_out.pairs.names == ("pier",)


def test_a_split_without_pairs(root: Path) -> None:
    with pytest.raises(UserError, match=r"--split test of .* has no pairs"):
        opened(root, "test")


def test_built_in_scenes_are_their_own(held_out: HeldOut) -> None:
    assert held_out.warnings == () and not held_out.scenes_known
    assert len(np.unique(held_out.scenes)) == 6
