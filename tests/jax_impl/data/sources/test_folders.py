"""Two folders of pictures, and everything that can be wrong with them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from export.edge.errors import UserError
from tests.jax_impl.data.sources.places import DAWN, DUSK, colours, find, folders, names, paint


@pytest.mark.parametrize(
    ("a", "b"), [("A", "B"), ("a", "b"), ("Source", "target"), ("SUNRISE", "Sunset"), ("input", "output")]
)
def test_two_folders_are_found_by_their_names_and_matched_by_stem(tmp_path: Path, a: str, b: str) -> None:
    source = find(folders(tmp_path, ["one", "two"], a, b), val_share=0.0)
    assert source.layout == "folders"
    assert names(source, "train") == ["one", "two"]
    assert colours(source) == {(DAWN, DUSK)}
    assert source.unmatched == ()


def test_stems_match_across_formats_and_other_files_are_passed_over(tmp_path: Path) -> None:
    paint(tmp_path / "A" / "x.bmp", DAWN)
    paint(tmp_path / "B" / "x.PNG", DUSK)
    (tmp_path / "A" / "notes.txt").write_text("hello")
    paint(tmp_path / "B" / ".hidden.png", DUSK)
    source = find(tmp_path)
    assert names(source, "train") == ["x"]
    assert source.unmatched == ()


def test_pictures_without_a_partner_are_listed(tmp_path: Path) -> None:
    folders(tmp_path, ["one"])
    left, right = paint(tmp_path / "A" / "two.png", DAWN), paint(tmp_path / "B" / "three.png", DUSK)
    assert find(tmp_path).unmatched == (left, right)


@pytest.mark.parametrize("val", ["val", "valid", "Validation"])
def test_split_folders_are_respected(tmp_path: Path, val: str) -> None:
    for split, stems in (("train", ["a", "b", "c"]), (val, ["a"]), ("test", ["z"])):
        folders(tmp_path / split, stems)
    source = find(tmp_path, val_share=0.5)
    assert [names(source, split) for split in ("train", "val", "test")] == [["a", "b", "c"], ["a"], ["z"]]
    assert all(pair.split == split for split, pairs in source.splits.items() for pair in pairs)


def test_one_sided_pairs_are_refused(tmp_path: Path) -> None:
    paint(tmp_path / "A" / "x.png", DAWN)
    with pytest.raises(UserError, match=r"has A/ but no B/"):
        find(tmp_path)
    (tmp_path / "B").mkdir()
    with pytest.raises(UserError, match=r"none of the 1 pictures .* has a partner"):
        find(tmp_path)
    (tmp_path / "A" / "x.png").unlink()
    with pytest.raises(UserError, match="hold no pictures"):
        find(tmp_path)


def test_two_files_of_one_stem_are_refused(tmp_path: Path) -> None:
    folders(tmp_path, ["x"])
    paint(tmp_path / "A" / "x.bmp", DAWN)
    with pytest.raises(UserError, match=r"both x\.bmp and x\.png"):
        find(tmp_path)


def test_unclear_folders_are_refused(tmp_path: Path) -> None:
    folders(folders(tmp_path, ["x"]), ["x"], "source", "target")
    with pytest.raises(UserError, match="several pairs of folders"):
        find(tmp_path)


def test_two_folders_for_one_split_are_refused(tmp_path: Path) -> None:
    folders(tmp_path / "val", ["x"])
    folders(tmp_path / "valid", ["x"])
    with pytest.raises(UserError, match=r"both val/ and valid/"):
        find(tmp_path)


def test_names_of_another_unicode_form_or_letter_case_are_matched_and_a_note_says_so(tmp_path: Path) -> None:
    for a, b in (("K\u00fcste 1", "Ku\u0308ste 1"), ("IMG_2", "img_2"), ("same", "same")):
        paint(tmp_path / "A" / f"{a}.png", DAWN)
        paint(tmp_path / "B" / f"{b}.png", DUSK)
    source = find(tmp_path, val_share=0.0)
    assert names(source, "train") == ["IMG_2", "K\u00fcste 1", "same"]
    assert source.unmatched == ()
    assert [note.startswith("2 pairs matched, such as ") for note in source.notes] == [True]


def test_names_that_are_no_text_become_text(tmp_path: Path) -> None:
    stems = [os.fsdecode(b"caf\xe9_%d" % number) for number in range(8)]
    try:
        folders(tmp_path, stems)
    except OSError:
        pytest.skip("this file system takes no such names")
    source = find(tmp_path, val_share=0.3)
    assert sorted(names(source, "train") + names(source, "val")) == [f"caf%E9_{number}" for number in range(8)]
    assert {pair.scene for pair in source.pairs} == {"caf%E9"}
    assert colours(source) == {(DAWN, DUSK)}


def test_pictures_of_kinds_that_cannot_be_read_are_counted_and_named(tmp_path: Path) -> None:
    folders(tmp_path, ["x", "y"])
    raw = tmp_path / "A" / "z.NEF"
    raw.touch()
    source = find(tmp_path, val_share=0.0)
    assert source.unread == (raw,)
    assert source.remarks() == (
        f"1 file (.NEF) cannot be read and is left out, such as {raw}; convert them to JPEG or PNG",
    )
    for side in "AB":
        for name in "xy":
            (tmp_path / side / f"{name}.png").unlink()
    with pytest.raises(UserError, match=r"hold no pictures; .* \(1 file \(\.NEF\) cannot be read"):
        find(tmp_path)
