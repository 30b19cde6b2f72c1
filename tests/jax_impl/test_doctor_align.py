"""The aligned copy of a folder of pairs: a data set like the one it was made of, whole or not there at all."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.edge.errors import UserError
from export.edge.pictures.files import open_picture, save_picture
from jax_impl import doctor
from jax_impl.config.data import DataConfig
from jax_impl.data.pairs import read_pair
from jax_impl.data.sources import Source, open_source
from jax_impl.data.synthetic import render_pair

SIDE, SHIFT = 128, 5


def pictures(seed: int, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """A morning, and its evening from a camera that stood `shift` pixels right and below."""
    cond, x0 = render_pair(seed, SIDE + SHIFT)
    return cond[:SIDE, :SIDE], x0[shift : shift + SIDE, shift : shift + SIDE]


@pytest.fixture
def handheld(tmp_path: Path) -> Path:
    """Two displaced pairs and one in place for training, one displaced for validation, one that shows two places."""
    root = tmp_path / "pairs"
    for split, name, seed, other, shift in [
        ("train", "harbour", 2, 2, SHIFT),
        ("train", "lake", 5, 5, SHIFT),
        ("train", "ridge", 13, 13, 0),
        ("val", "harbour", 7, 7, SHIFT),
        ("val", "pier", 6, 12, 0),
    ]:
        for side, picture in zip("AB", (pictures(seed, 0)[0], pictures(other, shift)[1]), strict=True):
            (root / split / side).mkdir(parents=True, exist_ok=True)
            save_picture(root / split / side / f"{name}.jpg", picture)
    return root


def align(source: Path, copy: Path, *words: str) -> dict[str, Any]:
    """What the doctor writes as JSON about the copy; the sheet lies beside it."""
    output = copy.parent / "report.json"
    places = ["--align", str(copy), "--output", str(copy.parent / "sheet.png"), "--json", str(output)]
    doctor.main([str(source), "--size", "64", *places, *words])
    return json.loads(output.read_text())["alignment"]


def verdicts(result: dict[str, Any]) -> dict[tuple[str, str], str]:
    return {(pair["split"], pair["name"]): pair["verdict"] for pair in result["pairs"]}


def names(source: Source) -> dict[str, list[str]]:
    return {split: [pair.name for pair in members] for split, members in source.splits.items()}


def test_displaced_pairs_come_back_in_place_and_the_rest_byte_for_byte(
    handheld: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = handheld / "train" / "B" / "lake.jpg"
    broken.write_bytes(broken.read_bytes()[:500])
    result = align(handheld, tmp_path / "aligned")
    assert verdicts(result) == {
        ("train", "harbour"): "moved",
        ("train", "ridge"): "aligned",
        ("val", "harbour"): "moved",
        ("val", "pier"): "unclear",
    }
    moved = [pair for pair in result["pairs"] if pair["verdict"] == "moved"]
    assert all(abs(pair["right_px"] + SHIFT) < 0.5 and abs(pair["down_px"] + SHIFT) < 0.5 for pair in moved)
    assert abs(result["median_px"] - SHIFT * 2**0.5) < 1.5
    text = capsys.readouterr().out
    assert "2 moved by" in text
    assert "1 aligned already, 1 left as they are" in text
    assert "val pier: no displacement is sure" in text
    copy = open_source(DataConfig(path=str(tmp_path / "aligned")))
    assert names(copy) == {"train": ["harbour", "ridge"], "val": ["harbour", "pier"], "test": []}
    for file in ("train/A/ridge.jpg", "train/B/ridge.jpg", "val/B/pier.jpg"):
        assert (tmp_path / "aligned" / file).read_bytes() == (handheld / file).read_bytes()
    cond, x0 = read_pair(copy.splits["train"][0])
    assert cond.shape == x0.shape
    assert SIDE - SHIFT - 4 <= min(cond.shape[:2]) < SIDE
    assert open_picture(tmp_path / "sheet-aligned.png").std() > 10
    assert "moved" not in verdicts(align(tmp_path / "aligned", tmp_path / "again")).values()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_a_manifest_keeps_its_names_held_out_pairs_and_direction(handheld: Path, tmp_path: Path) -> None:
    lines = ["source,target"]
    for at, (name, target) in enumerate([("harbour", "harbour"), ("harbour", "lake"), ("lake", "lake")]):
        lines.append(f"train/{'A' if at < 2 else 'B'}/{name}.jpg,train/{'B' if at < 2 else 'A'}/{target}.jpg")
    (handheld / "pairs.csv").write_text("\n".join(lines) + "\n")
    words = ("--direction", "reverse", "--val-share", "0.34")
    before = open_source(DataConfig(path=str(handheld), direction="reverse", val_share=0.34))
    result = align(handheld, tmp_path / "aligned", *words)
    after = open_source(DataConfig(path=str(tmp_path / "aligned"), direction="reverse"))
    assert names(after) == names(before)
    assert sorted(names(before)) == ["test", "train", "val"]
    assert len(names(before)["val"]) == 1
    assert sorted(verdicts(result).values()) == ["moved", "moved", "unclear"]
    pairs = [{p.name: read_pair(p) for members in s.splits.values() for p in members} for s in (before, after)]
    for name in pairs[0]:  # cond is only cut, whatever side of the manifest it is on
        cond = pairs[1][name][0]
        views = np.lib.stride_tricks.sliding_window_view(pairs[0][name][0], cond.shape)
        assert (views == cond).all(axis=(-1, -2, -3)).any()


def test_halves_of_a_picture_become_pictures(tmp_path: Path) -> None:
    (tmp_path / "pairs").mkdir()
    for seed, name, shift in ((2, "lake", SHIFT), (13, "pier", 0)):
        save_picture(tmp_path / "pairs" / f"{name}.png", np.concatenate(pictures(seed, shift), axis=1))
    assert set(verdicts(align(tmp_path / "pairs", tmp_path / "aligned")).values()) == {"moved", "aligned"}
    copy = open_source(DataConfig(path=str(tmp_path / "aligned"), val_share=0.0))
    found = {pair.name: read_pair(pair) for members in copy.splits.values() for pair in members}
    assert sorted(found) == ["lake", "pier"]
    assert all(np.array_equal(*both) for both in zip(found["pier"], pictures(13, 0), strict=True))


def test_other_shapes_are_left_alone_and_named(
    handheld: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_picture(handheld / "train" / "B" / "lake.jpg", pictures(5, 0)[1][:100])
    assert verdicts(align(handheld, tmp_path / "aligned"))["train", "lake"] == "two shapes"
    assert "train lake: the two pictures have different aspect ratios" in capsys.readouterr().out


def test_bad_places_for_the_copy_are_refused_before_anything_is_read(handheld: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for place, complaint in [
        (tmp_path / "there", "exists already"),
        (handheld, "lies in"),
        (handheld / "aligned", "lies in"),
        (tmp_path / "there" / ".." / "pairs" / "aligned", "lies in"),
        (tmp_path / "no" / "aligned", "mkdir -p"),
    ]:
        with pytest.raises(UserError, match=complaint):
            doctor.main([str(handheld), "--align", str(place), "--output", str(tmp_path / "sheet.png")])
    assert not (tmp_path / "sheet.png").exists()
