"""Pairs on disk: three layouts, splits, and everything that can be wrong with them."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from export.edge.errors import UserError
from jax_impl.config.data import DataConfig
from jax_impl.data.pairs import read_pair
from jax_impl.data.sources import Source, open_source
from jax_impl.data.splits import hold_out, scene_of

DAWN, DUSK = (40, 90, 200), (220, 120, 30)


def paint(path: Path, *colours: tuple[int, int, int], width: int = 12, height: int = 10) -> Path:
    """A PNG of flat colours side by side, each `width` wide."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.concatenate([np.full((height, width, 3), colour, np.uint8) for colour in colours], axis=1)
    Image.fromarray(picture).save(path)
    return path


def folders(root: Path, stems: list[str], a: str = "A", b: str = "B") -> Path:
    for stem in stems:
        paint(root / a / f"{stem}.png", DAWN)
        paint(root / b / f"{stem}.png", DUSK)
    return root


def find(path: Path, **settings: object) -> Source:
    return open_source(DataConfig(path=str(path), **settings))  # pyright: ignore[reportArgumentType]


def colours(source: Source) -> set[tuple[tuple[int, ...], ...]]:
    """The first pixels of cond and x0 of every training pair."""
    return {tuple(tuple(picture[0, 0].tolist()) for picture in read_pair(pair)) for pair in source.splits["train"]}


def names(source: Source, split: str) -> list[str]:
    return [pair.name for pair in source.splits[split]]


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


def test_without_a_val_folder_pairs_of_train_are_held_out_and_test_stays(tmp_path: Path) -> None:
    folders(tmp_path / "train", [f"{i}" for i in range(10)])
    folders(tmp_path / "test", ["9"])
    source = find(tmp_path, val_share=0.2)
    assert [len(source.splits[split]) for split in ("train", "val", "test")] == [8, 2, 1]
    assert "held out 2 of 10 pairs" in source.notes[0]


def test_reverse_swaps_the_pictures_and_keeps_the_split(tmp_path: Path) -> None:
    folders(tmp_path, [f"{i}" for i in range(10)])
    forward, reverse = find(tmp_path), find(tmp_path, direction="reverse")
    assert colours(reverse) == {(DUSK, DAWN)}
    assert names(forward, "val") == names(reverse, "val")


@pytest.mark.parametrize("width", [10, 13, 8])
@pytest.mark.parametrize("folder", [".", "train"])
def test_side_by_side_pictures_are_recognised(tmp_path: Path, width: int, folder: str) -> None:
    rng = np.random.default_rng(0)
    for i in range(3):
        gentle = rng.integers(0, 9, (10, 2 * width, 3), np.uint8)
        gentle[:, width:] += 100
        (tmp_path / folder).mkdir(exist_ok=True)
        Image.fromarray(gentle).save(tmp_path / folder / f"{i}.png")
    source = find(tmp_path, val_share=0.0)
    assert source.layout == "side-by-side"
    cond, x0 = read_pair(source.splits["train"][0])
    assert cond.shape == x0.shape == (10, width, 3)
    assert cond.max() < 100 <= x0.min()


def test_side_by_side_reverse_and_odd_width_drops_the_middle_column(tmp_path: Path) -> None:
    picture = np.zeros((4, 7, 3), np.uint8)
    picture[..., 0] = np.arange(7)
    Image.fromarray(picture).save(tmp_path / "x.png")
    source = find(tmp_path, layout="side-by-side", direction="reverse")
    cond, x0 = read_pair(source.splits["train"][0])
    assert cond[0, :, 0].tolist() == [4, 5, 6]
    assert x0[0, :, 0].tolist() == [0, 1, 2]


def test_a_picture_one_pixel_wide_has_no_halves(tmp_path: Path) -> None:
    Image.new("RGB", (1, 5)).save(tmp_path / "x.png")
    source = find(tmp_path, layout="side-by-side")
    with pytest.raises(UserError, match=r"x\.png is 1 pixel wide"):
        read_pair(source.splits["train"][0])


def test_plain_photographs_are_not_taken_for_side_by_side(tmp_path: Path) -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, 30).astype(np.uint8)[None, :, None], (20, 30, 3))
    Image.fromarray(ramp.copy()).save(tmp_path / "x.png")
    with pytest.raises(UserError, match="do not look like two halves"):
        find(tmp_path)


def test_csv_and_jsonl_manifests_say_the_same(tmp_path: Path) -> None:
    for stem in "abc":
        paint(tmp_path / "dawn" / f"{stem}.png", DAWN)
        paint(tmp_path / "dusk" / f"{stem}.png", DUSK)
    splits = {"a": "train", "b": "valid", "c": "test"}
    rows = [(f"dawn/{stem}.png", f"dusk/{stem}.png", split) for stem, split in splits.items()]
    lines = [",".join(row) for row in rows]
    (tmp_path / "pairs.csv").write_text("\ufeffSource, target ,split\n" + "\n\n".join(lines))
    keys = ("source", "target", "split")
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(dict(zip(keys, row, strict=True))) + "\n" for row in rows))
    by_folder, by_csv, by_jsonl = find(tmp_path), find(tmp_path / "pairs.csv"), find(tmp_path / "list.jsonl")
    assert by_folder == by_csv == by_jsonl
    assert by_csv.layout == "manifest"
    assert [names(by_csv, split) for split in ("train", "val", "test")] == [["a"], ["b"], ["c"]]
    assert colours(by_csv) == {(DAWN, DUSK)}
    assert colours(find(tmp_path, direction="reverse")) == {(DUSK, DAWN)}


def test_a_manifest_may_use_a_picture_often_and_names_stay_unique(tmp_path: Path) -> None:
    for name in "pqrs":
        paint(tmp_path / f"{name}.png", DAWN)
    (tmp_path / "pairs.csv").write_text("source,target\np.png,q.png\np.png,r.png\ns.png,q.png\n")
    source = find(tmp_path, val_share=0.0)
    assert names(source, "train") == ["p--q", "p--r", "s--q"]


MANIFESTS = [
    ("", "is empty"),
    ("source,target\n", "lists no pairs"),
    ("src,target\na.png,b.png\n", "line 1 has no column 'source'; rename 'src' to 'source'"),
    ("source,tarjet\na.png,b.png\n", "rename 'tarjet' to 'target'"),
    ("source,target\na.png,b.png\na.png,gone.png\n", r"line 3: .*gone\.png"),
    ("source,target\na.png,b.png\nb.png,a.png\na.png,b.png\n", "line 4 repeats the pair of line 2"),
    ("source,target\na.png,b.png\na.png,../secret.png\n", r"line 3: target '\.\./secret\.png' lies outside"),
    ("source,target\n/etc/hostname,b.png\n", "line 2: source '/etc/hostname' lies outside"),
    ("source,target\nlink.png,b.png\n", r"line 2: source 'link\.png' lies outside"),
    ("source,target\na.png\n", "line 2 has 1 values for 2 columns"),
    ("source,target\na.png,\n", "line 2: target is ''"),
    ("source,target\n\0,b.png\n", "line 2"),
    ("source,target,split\na.png,b.png,holdout\n", "line 2: split is 'holdout'"),
    ('source,target\n"a.png,b.png\n', "is not CSV"),
]


@pytest.mark.parametrize(("text", "message"), MANIFESTS)
def test_a_faulty_csv_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    root = tmp_path / "data"
    for name in ("a", "b"):
        paint(root / f"{name}.png", DAWN)
    paint(tmp_path / "secret.png", DUSK)
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "pairs.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        find(root)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]\n", "line 1 is not a JSON object"),
        ('{"source": "a.png"', "line 1 is not a JSON object"),
        ('\n{"source": "a.png"}\n', "line 2 has no column 'target'"),
        ('{"source": "a.png", "target": 3}\n', "line 1: target is 3"),
        ('{"source": "a.png", "target": "a.png", "split": 3}\n', "line 1: split is 3"),
        ('{"source": "a.png", "source": "b.png", "target": "a.png"}\n', "line 1 is not a JSON object"),
        ('{"source": ' + 100_000 * "[", "line 1 is not a JSON object"),
        ('{"source": "' + 300 * "x" + '", "target": "a.png"}\n', "names a file that does not exist, line 1"),
        ('{"source": "a\\u0000.png", "target": "a.png"}\n', "is not a path"),
    ],
)
def test_a_faulty_jsonl_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    paint(tmp_path / "a.png", DAWN)
    (tmp_path / "pairs.jsonl").write_text(text)
    with pytest.raises(UserError, match=message):
        find(tmp_path)


def test_a_manifest_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_bytes(b"\xff\xfe\x00s")
    with pytest.raises(UserError, match="not UTF-8"):
        find(tmp_path)


def test_two_manifests_are_one_too_many(tmp_path: Path) -> None:
    for name in ("pairs.csv", "manifest.jsonl"):
        (tmp_path / name).write_text("source,target\n")
    with pytest.raises(UserError, match="several manifests"):
        find(tmp_path)


def test_absolute_paths_inside_the_folder_are_fine(tmp_path: Path) -> None:
    a, b = paint(tmp_path / "a.png", DAWN), paint(tmp_path / "b.png", DUSK)
    (tmp_path / "pairs.csv").write_text(f"source,target\n{a},{b}\n")
    assert names(find(tmp_path), "train") == ["a"]


def test_missing_and_empty_places_are_refused_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"does not exist; name a folder"):
        find(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"holds no pairs; put pictures"):
        find(tmp_path)
    for layout, message in (
        ("folders", "no pair of folders"),
        ("side-by-side", "no pictures"),
        ("manifest", "no manifest"),
    ):
        with pytest.raises(UserError, match=message):
            find(tmp_path, layout=layout)
    with pytest.raises(UserError, match=r"data\.layout is 'zip': choose one of auto, "):
        find(tmp_path, layout="zip")


def test_a_lonely_file_or_the_wrong_layout_for_it_is_refused(tmp_path: Path) -> None:
    picture = paint(tmp_path / "x.png", DAWN)
    with pytest.raises(UserError, match="is a file but no manifest"):
        find(picture)
    with pytest.raises(UserError, match="reads a folder"):
        find(picture, layout="folders")


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


def test_whole_scenes_are_held_out(tmp_path: Path) -> None:
    stems = [f"{scene}_{i:02d}" for scene in ("church", "hill", "lake", "tram", "tower") for i in range(4)]
    source = find(folders(tmp_path, stems), val_share=0.2)
    train, val = ({pair.scene for pair in source.splits[split]} for split in ("train", "val"))
    assert len(val) == 1
    assert not train & val
    assert source.notes[0].startswith("held out 1 of 5 scenes")


def test_one_pair_is_for_training(tmp_path: Path) -> None:
    source = find(folders(tmp_path, ["x"]), val_share=0.9)
    assert (len(source.splits["train"]), len(source.splits["val"])) == (1, 0)


@pytest.mark.parametrize(
    ("stem", "scene"),
    [
        ("church_square_00", "church_square"),
        ("frame (12)", "frame"),
        ("2023-06-13T12_25_28", "2023-06-13"),
        ("cam2_20230613_122528", "cam2_20230613"),
        ("0017", ""),
        ("harbour", "harbour"),
    ],
)
def test_scene_of_a_name(stem: str, scene: str) -> None:
    assert scene_of(stem) == scene


Row = tuple[str, str, tuple[str, ...]]


def columns(rows: list[Row]) -> tuple[list[str], list[str], list[tuple[str, ...]]]:
    return [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]


@given(
    scenes=st.lists(st.integers(0, 6), min_size=1, max_size=40),
    share=st.floats(0.01, 0.99),
    shared=st.booleans(),
    seed=st.integers(0, 5),
)
def test_holding_out_never_empties_training_and_ignores_the_order(
    scenes: list[int], share: float, shared: bool, seed: int
) -> None:
    pairs: list[Row] = [(f"s{s}_{i}", f"s{s}", (f"file{s if shared else i}",)) for i, s in enumerate(scenes)]
    held = hold_out(*columns(pairs), share).held
    if len(pairs) > 1:
        assert 0 < len(held) < len(pairs)
    else:
        assert not held
    if len(set(scenes)) >= 3:
        assert not {scenes[i] for i in held} & {scenes[i] for i in range(len(scenes)) if i not in held}
    shuffled = random.Random(seed).sample(pairs, len(pairs))
    again = hold_out(*columns(shuffled), share).held
    assert {shuffled[i][0] for i in again} == {pairs[i][0] for i in held}


@given(count=st.integers(4, 200), share=st.floats(0.05, 0.5))
def test_pairs_without_scenes_are_held_out_by_the_share(count: int, share: float) -> None:
    labels = [str(i) for i in range(count)]
    held = hold_out(labels, [""] * count, [[label] for label in labels], share).held
    assert len(held) == max(1, round(share * count))


def test_pairs_that_have_a_picture_in_common_stay_together() -> None:
    files = [("a", f"t{i}") for i in range(5)] + [("b", f"u{i}") for i in range(5)]
    choice = hold_out([str(i) for i in range(10)], [""] * 10, files, 0.1)
    assert choice.held in ({0, 1, 2, 3, 4}, {5, 6, 7, 8, 9})
