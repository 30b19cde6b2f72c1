"""The two folders of pairs, as people lay them out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from export.edge.errors import UserError
from jax_impl.config.data import DataConfig
from tests.jax_impl.data.sources.places import DAWN, DUSK, colours, find, folders, names, paint

SPLIT = ["train", "val", "test"]


def inside(root: Path, a: str, b: str, stems: str = "xy") -> None:
    """Pairs in the folders `a` and `b` below `root`."""
    for stem in stems:
        paint(root / a / f"{stem}.png", DAWN)
        paint(root / b / f"{stem}.png", DUSK)


@pytest.mark.parametrize("pattern", ["{side}/{split}", "{split}{side}", "{split}_{side}", "{split}-{side}"])
@pytest.mark.parametrize(("a", "b"), [("A", "B"), ("sunrise", "sunset"), ("Source", "Target")])
def test_splits_inside_the_sides_or_in_their_names(tmp_path: Path, pattern: str, a: str, b: str) -> None:
    for split, stems in zip(SPLIT, ("xy", "z", "w"), strict=True):
        inside(tmp_path, pattern.format(split=split, side=a), pattern.format(split=split, side=b), stems)
    source = find(tmp_path)
    assert [names(source, split) for split in SPLIT] == [["x", "y"], ["z"], ["w"]]
    assert colours(source) == {(DAWN, DUSK)}


def test_folders_inside_the_sides_are_scenes(tmp_path: Path) -> None:
    for scene, stems in (("church", "12"), ("harbour/north", "1"), ("quay", "3")):
        inside(tmp_path, f"A/{scene}", f"B/{scene}", stems)
    paint(tmp_path / "A" / "quay" / "4.png", DAWN)
    source = find(tmp_path, val_share=0.0)
    assert names(source, "train") == ["church__1", "church__2", "harbour__north__1", "quay__3"]
    assert [pair.scene for pair in source.pairs] == ["church/", "church/", "harbour/north/", "quay/"]
    assert source.unmatched == (tmp_path / "A" / "quay" / "4.png",)
    assert colours(source) == {(DAWN, DUSK)}


def test_pictures_in_the_sides_themselves_come_first(tmp_path: Path) -> None:
    folders(tmp_path, ["one"])
    inside(tmp_path, "A/train", "B/train")
    assert names(find(tmp_path, val_share=0.0), "train") == ["one"]


@pytest.mark.parametrize(
    ("there", "message"),
    [
        (["A/train", "B/train", "A/val"], "A has a folder for the val split and .*B has none"),
        (["trainA"], "has trainA/ but no folder of the other pictures"),
        (["trainA", "trainB", "train_A"], "both trainA/ and train_A/"),
    ],
)
def test_what_is_incomplete_is_named(tmp_path: Path, there: list[str], message: str) -> None:
    for folder in there:
        paint(tmp_path / folder / "x.png", DAWN)
    with pytest.raises(UserError, match=message):
        find(tmp_path)


def test_two_folders_of_other_names_are_named_with_the_command_that_makes_pairs_of_them(tmp_path: Path) -> None:
    inside(tmp_path, "evening", "the morning")
    listed = "; it has evening/ (2 pictures), the morning/ (2 pictures), with 2 names in common: read them with"
    command = f'`cd "{tmp_path}" && mv "the morning" A && mv "evening" B`'
    for layout in ("auto", "folders"):
        with pytest.raises(UserError, match=f"{re.escape(listed)}.*{re.escape(command)}"):
            find(tmp_path, layout=layout)
    assert names(find(tmp_path, folders=("the morning", "Evening"), val_share=0.0), "train") == ["x", "y"]
    (tmp_path / "the morning").rename(tmp_path / "A")
    (tmp_path / "evening").rename(tmp_path / "B")
    assert names(find(tmp_path, val_share=0.0), "train") == ["x", "y"]


def test_other_folders_are_listed(tmp_path: Path) -> None:
    for number in range(8):
        paint(tmp_path / f"day{number}" / "x.png", DAWN)
    with pytest.raises(UserError, match=r"it has day0/ \(1 pictures\), .*day5/ \(1 pictures\) and 2 more folders"):
        find(tmp_path)


@pytest.mark.parametrize("pattern", ["{side}", "{split}/{side}", "{side}/{split}", "{split}_{side}", "{side}/scene"])
def test_the_two_folders_can_be_named(tmp_path: Path, pattern: str) -> None:
    kinds = [pattern.format(split="train", side=side) for side in ("K\u00fcste fr\u00fch", "evening")]
    inside(tmp_path, *kinds)
    inside(tmp_path, "A", "B", "z")
    source = find(tmp_path, folders=("ku\u0308ste fru\u0308h", "Evening"), val_share=0.0)
    assert [name[-1] for name in names(source, "train")] == ["x", "y"]
    assert colours(source) == {(DAWN, DUSK)}
    assert names(find(tmp_path, val_share=0.0), "train") == ["z"]


def test_named_folders_that_are_not_there_are_refused(tmp_path: Path) -> None:
    inside(tmp_path, "morning", "evening")
    paint(tmp_path / "morning" / "alone.png", DAWN)
    with pytest.raises(UserError, match=r"^data\.folders: .* has no dawn/ and dusk/; name two .*has evening/ \(2 p"):
        find(tmp_path, folders=("dawn", "dusk"))
    with pytest.raises(UserError, match="has morning/ but no dusk/; put the other picture"):
        find(tmp_path, folders=("morning", "dusk"))
    (remark,) = find(tmp_path, folders=("morning", "evening"), val_share=0.0).remarks()
    assert remark.endswith(f"`python -m jax_impl.doctor {tmp_path} --folders morning evening` lists all")
    (tmp_path / "pairs.csv").write_text("source,target\n")  # Named folders count, whatever else is there.
    assert find(tmp_path, folders=("morning", "evening")).layout == "folders"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"folders": ("morning",)}, "name two different folders inside data.path, inputs first"),
        ({"folders": ("a", "A")}, "name two different folders"),
        ({"folders": ("x/a", "b")}, "name two different folders inside"),
        ({"folders": ("..", "b")}, "name two different folders inside"),
        ({"folders": ("a", "b"), "layout": "manifest"}, "data.layout manifest reads a list; leave one out"),
        ({"folders": ("a", "b"), "path": "synthetic"}, "data.path has to name the folder that holds the two"),
    ],
)
def test_names_that_cannot_be_meant_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=f"^data.folders is .*{message}"):
        DataConfig(**{"path": "photos", **settings})  # pyright: ignore[reportArgumentType]
