"""The report on a folder of pairs: each fault is found, and sound data raises no alarm."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from export.edge.errors import UserError
from export.edge.pictures.arrays import resize
from export.edge.pictures.files import open_picture, save_picture
from jax_impl import doctor
from jax_impl.data.checkup import difference_hash, look, misalignment, near_duplicates
from jax_impl.data.synthetic import render_pair

ROOT = Path(__file__).parents[2]
SIDE = 96


def scene(root: Path, name: str, seed: int) -> None:
    """A sound pair of 96 by 96 pixels."""
    for side, picture in zip("AB", render_pair(seed, SIDE), strict=True):
        (root / side).mkdir(parents=True, exist_ok=True)
        save_picture(root / side / f"{name}.png", picture)


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """Scenes of five names, three of them for training, in folders of their own."""
    root = tmp_path / "pairs"
    for seed, name in enumerate(("harbour", "lake", "ridge")):
        scene(root / "train", name, seed)
    for seed, name in enumerate(("moor", "pier")):
        scene(root / "val", name, 100 + seed)
    return root


def report(root: Path, *words: str) -> dict[str, Any]:
    """What the doctor writes as JSON; `warned` maps each check with a warning to its cases."""
    output = root.parent / "report.json"
    main = ["--output", str(root.parent / "sheet.png"), "--json", str(output), *words]
    doctor.main([str(root), "--size", "64", *main])
    result = json.loads(output.read_text())
    result["warned"] = {f["check"]: f["items"] for f in result["findings"] if f["level"] == "warn"}
    return result


def test_sound_pairs_raise_no_alarm(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = report(sound)
    assert result["warned"] == {}
    assert result["layout"] == "folders"
    assert result["pairs"] == result["usable_pairs"] == {"train": 3, "val": 2, "test": 0}
    assert result["sizes"] == [{"width": SIDE, "height": SIDE, "pictures": 10}]
    text = capsys.readouterr().out
    assert "3 train, 2 val, 0 test" in text
    assert "no warnings" in text
    assert open_picture(sound.parent / "sheet.png").std() > 10


def test_every_fault_is_named(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, val = sound / "train", sound / "val"
    scene(train, "alone", 3)
    (train / "B" / "alone.png").unlink()
    scene(train, "broken", 4)
    data = (train / "A" / "broken.png").read_bytes()
    (train / "A" / "broken.png").write_bytes(data[: len(data) // 2])
    scene(train, "speck", 5)
    Image.new("RGB", (1, 1)).save(train / "B" / "speck.png")
    scene(train, "small", 6)
    for side in "AB":
        save_picture(train / side / "small.png", resize(open_picture(train / side / "small.png"), 40, 40))
    scene(train, "wide", 7)
    save_picture(train / "A" / "wide.png", resize(open_picture(train / "A" / "wide.png"), 70, 280))
    scene(train, "moor_02", 100)  # the very scene that val has as `moor`
    scene(train, "shifted", 8)
    picture = render_pair(8, SIDE + 6)
    save_picture(train / "A" / "shifted.png", picture[0][6:, 6:])
    save_picture(train / "B" / "shifted.png", picture[1][:-6, :-6])
    warned = report(sound)["warned"]
    assert warned["partners"] == [str(train / "A" / "alone.png")]
    assert [("broken.png" in item, "damaged" in item) for item in warned["readable"]] == [(True, True)]
    assert [item.split(":")[0] for item in warned["large enough"]] == ["train speck"]
    assert [item.split(":")[0] for item in warned["detail"]] == ["train small"]
    assert [item.split(":")[0] for item in warned["same shape"]] == ["train wide"]
    assert [item.split(":")[0] for item in warned["aspect"]] == ["train wide"]
    assert [item.split(":")[0] for item in warned["aligned"]] == ["train shifted"]
    assert "6 px right, 6 px down" in warned["aligned"][0]
    assert len(warned["splits apart"]) == 2
    assert all("moor.png is like" in item for item in warned["splits apart"])
    assert warned["new scenes"] == ["moor"]
    assert "9 warnings" in capsys.readouterr().out
    assert str(val / "A" / "moor.png") in warned["splits apart"][0]


def test_files_that_are_left_out_nearly_black_or_cut_off_behind_the_last_pixel_are_named(sound: Path) -> None:
    raw = sound / "train" / "A" / "{odd}.NEF"
    raw.touch()
    for side in "AB":
        twelve = np.random.default_rng(0).integers(0, 4096, (SIDE, SIDE)).astype(np.uint16)
        Image.fromarray(twelve).save(sound / "train" / side / "night.png")
    (first, second) = render_pair(9, SIDE)
    save_picture(sound / "train" / "B" / "cut.png", second)
    cut = sound / "train" / "A" / "cut.jpg"
    save_picture(cut, first)
    cut.write_bytes(cut.read_bytes()[:-2])
    warned = report(sound)["warned"]
    assert warned == {
        "file types": [str(raw)],
        "brightness": ["train night: at most 16 of 255 and at most 16 of 255"],
        "end marks": [str(cut)],
    }


def test_an_input_with_several_targets_is_named(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = sound / "train"
    scene(train, "quay_1", 7)
    scene(train, "quay_2", 8)
    scene(train, "quay_3", 7)  # The same pair again: one target.
    (train / "A" / "quay_2.png").write_bytes((train / "A" / "quay_1.png").read_bytes())
    warned = report(sound)["warned"]
    first, second = (train / "B" / f"quay_{number}.png" for number in (1, 2))
    assert list(warned) == ["one target each"]
    (line,) = warned["one target each"]
    assert line.startswith(f"{train / 'A' / 'quay_1.png'}: 2 targets, such as ")
    assert str(second) in line and (str(first) in line or "quay_3.png" in line)
    said = capsys.readouterr().out
    assert "1 input with several targets: " in said and "(8 pairs have 6 different inputs)" in said


def test_nothing_to_train_on_is_an_error(tmp_path: Path) -> None:
    for side in "AB":
        (tmp_path / "pairs" / side).mkdir(parents=True)
        (tmp_path / "pairs" / side / "x.jpg").write_text("no picture")
    with pytest.raises(UserError, match=r"nothing in .* can be trained on"):
        report(tmp_path / "pairs")
    assert "unreadable" in (tmp_path / "report.json").read_text()
    assert not (tmp_path / "sheet.png").exists()


def test_bad_places_are_refused_before_anything_is_read(sound: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="mkdir -p"):
        doctor.main([str(sound), "--output", str(tmp_path / "no" / "sheet.png")])
    with pytest.raises(UserError, match="suffix"):
        doctor.main([str(sound), "--output", str(tmp_path / "sheet.txt")])
    with pytest.raises(UserError, match="does not exist"):
        doctor.main([str(tmp_path / "nowhere"), "--output", str(tmp_path / "sheet.png")])
    with pytest.raises(UserError, match="needs no check"):
        doctor.main(["synthetic", "--output", str(tmp_path / "sheet.png")])


def test_the_command_ends_with_status_2_and_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "jax_impl.doctor", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(("right", "down"), [(6, 0), (0, -6), (-5, 5), (20, 3)])
def test_a_shift_is_measured_between_morning_and_evening(right: int, down: int) -> None:
    margin = 24
    for seed in range(3):
        cond, x0 = render_pair(seed, 128 + 2 * margin)
        here = cond[margin:-margin, margin:-margin]
        there = x0[margin - down : margin - down + 128, margin - right : margin - right + 128]
        shift = misalignment(here, there, "crop")
        assert shift is not None
        assert abs(shift.right - right) <= 1
        assert abs(shift.down - down) <= 1


def test_pictures_that_have_nothing_in_common_are_not_called_shifted() -> None:
    rng = np.random.default_rng(0)
    flat = np.full((64, 64, 3), 90, np.uint8)
    assert misalignment(flat, flat, "crop") is None
    for seed in range(10):
        noise = [rng.integers(0, 256, (80, 80, 3), np.uint8) for _ in range(2)]
        assert misalignment(noise[0], noise[1], "stretch") is None
        assert misalignment(render_pair(seed, 80)[0], render_pair(seed + 50, 80)[1], "crop") is None


def test_the_hash_survives_scaling_and_brightness_and_tells_scenes_apart() -> None:
    scenes = [render_pair(seed, 64)[0] for seed in range(6)]
    bits = [difference_hash(picture) for picture in scenes]
    for picture, expected in zip(scenes, bits, strict=True):
        changed = resize((picture * 0.9).astype(np.uint8), 40, 50)
        assert (difference_hash(changed) ^ expected).bit_count() <= 6
    copies = [look(resize(picture, 48, 48)) for picture in scenes]
    pairs = near_duplicates(copies, [look(picture) for picture in reversed(scenes)])
    assert sorted(pairs) == [(i, 5 - i) for i in range(6)]
    assert near_duplicates([], copies) == near_duplicates(copies, []) == []


def photograph(picture: np.ndarray, seed: int) -> np.ndarray:
    """The picture as a camera gives it: with noise, and compressed."""
    noise = np.random.default_rng(seed).normal(scale=4.0, size=picture.shape)
    compressed = io.BytesIO()
    Image.fromarray((picture + noise).clip(0, 255).astype(np.uint8)).save(compressed, "JPEG", quality=85)
    return np.asarray(Image.open(compressed))


@pytest.mark.parametrize("layout", ["folders", "side-by-side", "manifest"])
def test_photographs_in_every_layout_raise_no_alarm(tmp_path: Path, layout: str) -> None:
    root, rows = tmp_path / "pairs", ["source,target"]
    for seed in range(12):
        morning, evening = (photograph(picture, seed) for picture in render_pair(seed, SIDE))
        name = f"place_{seed % 4}_{seed:02d}.png"
        for side, picture in (("A", morning), ("B", evening)):
            if layout != "side-by-side":
                (root / side).mkdir(parents=True, exist_ok=True)
                save_picture(root / side / name, picture)
        if layout == "side-by-side":
            root.mkdir(exist_ok=True)
            save_picture(root / name, np.concatenate([evening, morning], axis=1))
        rows.append(f"A/{name},B/{name}")
    if layout == "manifest":
        (root / "pairs.csv").write_text("\n".join(rows) + "\n")
    found = report(root, "--direction", "reverse" if layout == "side-by-side" else "forward")
    assert (found["layout"], sum(found["pairs"].values())) == (layout, 12)
    assert [finding["check"] for finding in found["findings"] if finding["level"] != "ok"] == []


def test_a_camera_that_moved_by_6_pixels_is_found_in_photographs() -> None:
    found = []
    for seed in range(12):
        cond, x0 = (photograph(picture, seed) for picture in render_pair(seed, 134))
        shift = misalignment(cond[6:, 6:], x0[:-6, :-6], "crop")
        found.append(shift is not None and abs(shift.right - 6) < 2 and abs(shift.down - 6) < 2)
    assert sum(found) >= 0.8 * len(found)
