"""Splits and directions, whatever the layout."""

from __future__ import annotations

from pathlib import Path

from tests.jax_impl.data.sources.places import DAWN, DUSK, colours, find, folders, names


def test_without_a_val_folder_pairs_of_train_are_held_out_and_test_stays(tmp_path: Path) -> None:
    folders(tmp_path / "train", [f"{i}" for i in range(10)])
    folders(tmp_path / "test", ["9"])
    source = find(tmp_path, val_share=0.2)
    assert [len(source.splits[split]) for split in ("train", "val", "test")] == [8, 2, 1]
    assert source.notes[0].startswith("held out 2 of 10 pairs (")
    assert source.notes[0].count("of 10 pairs") == 1


def test_reverse_swaps_the_pictures_and_keeps_the_split(tmp_path: Path) -> None:
    folders(tmp_path, [f"{i}" for i in range(10)])
    forward, reverse = find(tmp_path), find(tmp_path, direction="reverse")
    assert colours(reverse) == {(DUSK, DAWN)}
    assert names(forward, "val") == names(reverse, "val")


def test_whole_scenes_are_held_out(tmp_path: Path) -> None:
    stems = [f"{scene}_{i:02d}" for scene in ("church", "hill", "lake", "tram", "tower") for i in range(4)]
    source = find(folders(tmp_path, stems), val_share=0.2)
    train, val = ({pair.scene for pair in source.splits[split]} for split in ("train", "val"))
    assert len(val) == 1
    assert not train & val
    assert source.notes[0].startswith("held out 4 of 20 pairs, 1 of 5 scenes (")


def test_one_pair_is_for_training(tmp_path: Path) -> None:
    source = find(folders(tmp_path, ["x"]), val_share=0.9)
    assert (len(source.splits["train"]), len(source.splits["val"])) == (1, 0)
