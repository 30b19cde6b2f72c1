"""Decoded pairs and the order in which batches take them."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.edge import progress
from export.edge.errors import UserError
from export.edge.pictures.arrays import fit_square
from export.edge.pictures.files import open_picture, save_picture
from jax_impl.config.data import DataConfig
from jax_impl.data import loader
from jax_impl.data.loader import load
from jax_impl.data.sources import open_source


def pairs_on_disk(root: Path, count: int, height: int = 20, width: int = 30) -> Path:
    rng = np.random.default_rng(0)
    for side in ("A", "B"):
        (root / side).mkdir(parents=True)
        for i in range(count):
            picture = rng.integers(0, 256, (height, width, 3), np.uint8)
            Image.fromarray(picture).save(root / side / f"{i}.png")
    return root


def config(path: Path, **settings: object) -> DataConfig:
    return DataConfig(path=str(path), **{"size": 16, "val_share": 0.0, **settings})  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("fit", ["crop", "letterbox", "stretch"])
def test_pictures_are_what_inference_would_make_of_them(tmp_path: Path, fit: str) -> None:
    pairs = load(config(pairs_on_disk(tmp_path, 3), fit=fit), "train")
    assert pairs.names == ("0", "1", "2")
    assert pairs.cond.shape == pairs.x0.shape == (3, 16, 16, 3)
    assert pairs.cond.dtype == pairs.x0.dtype == np.uint8
    for i in range(3):
        np.testing.assert_array_equal(pairs.cond[i], fit_square(open_picture(tmp_path / "A" / f"{i}.png"), 16, fit))
        np.testing.assert_array_equal(pairs.x0[i], fit_square(open_picture(tmp_path / "B" / f"{i}.png"), 16, fit))


def test_train_and_val_are_disjoint_and_a_missing_split_is_empty(tmp_path: Path) -> None:
    settings = config(pairs_on_disk(tmp_path, 5), val_share=0.4)
    train, val, test = (load(settings, split) for split in ("train", "val", "test"))
    assert sorted(train.names + val.names) == list("01234")
    assert len(val.names) == 2
    assert test.cond.shape == (0, 16, 16, 3)


def test_built_in_scenes_differ_between_splits_and_stay_the_same() -> None:
    settings = DataConfig(size=16, synthetic_pairs=3, synthetic_val_pairs=2)
    train, val = load(settings, "train"), load(settings, "val")
    assert (len(train.names), len(val.names)) == (3, 2)
    np.testing.assert_array_equal(train.cond, load(settings, "train").cond)
    scenes = [scene.tobytes() for scene in (*train.cond, *val.cond, *load(settings, "test").cond)]
    assert len(set(scenes)) == len(scenes)
    assert (train.cond != train.x0).any()


def test_a_picture_too_small_to_learn_from_is_named(tmp_path: Path) -> None:
    pairs_on_disk(tmp_path, 2)
    Image.new("RGB", (40, 7)).save(tmp_path / "B" / "1.png")
    with pytest.raises(UserError, match=r"B.1\.png is 40 by 7 pixels"):
        load(config(tmp_path), "train")


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    pairs_on_disk(tmp_path, 2)
    (tmp_path / "A" / "1.png").write_text("not a picture")
    with pytest.raises(UserError, match=r"1\.png"):
        load(config(tmp_path), "train")


def test_data_with_only_a_test_split_cannot_be_trained_on(tmp_path: Path) -> None:
    pairs_on_disk(tmp_path / "test", 2)
    with pytest.raises(UserError, match="has pairs for test but none for train"):
        load(config(tmp_path), "train")


def test_remarks_name_pictures_that_are_left_out_and_pairs_that_are_held_out(tmp_path: Path) -> None:
    assert open_source(DataConfig()).remarks() == ()
    pairs_on_disk(tmp_path, 4)
    assert open_source(config(tmp_path)).remarks() == ()
    (tmp_path / "A" / "0.png").unlink()
    held, lonely = open_source(config(tmp_path, val_share=0.3)).remarks()
    assert held.startswith("held out 1 of 3 pairs")
    assert lonely.startswith(f"1 picture without a partner left out, such as {tmp_path / 'B' / '0.png'}")


def test_more_than_memory_allows_is_refused_before_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "MAX_PAIRS_BYTES", 10_000)
    with pytest.raises(UserError, match=r"need .* GiB .* smaller data.size or fewer pairs"):
        load(config(pairs_on_disk(tmp_path, 8)), "train")


def test_without_a_terminal_one_line_says_how_long_the_pairs_will_take(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "SURE", 0.0)
    load(DataConfig(size=16, synthetic_pairs=4), "train")
    assert not capsys.readouterr().err
    monkeypatch.setattr(progress, "LONG", 0.0)
    load(DataConfig(size=16, synthetic_pairs=4), "train")
    (line,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"pair \d/4, \d+ ms/pair, 0:00 left", line)


def test_reading_data_needs_neither_jax_nor_torch_nor_tensorflow() -> None:
    code = "import sys, jax_impl.data.loader; print([m for m in ('jax', 'torch', 'tensorflow') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_label_maps_beside_photos_load_in_the_direction_label_to_photo(tmp_path: Path) -> None:
    photo, label = np.full((20, 20, 3), (120, 100, 80), np.uint8), np.full((20, 20, 3), (0, 40, 220), np.uint8)
    for split, count in (("train", 3), ("val", 2)):
        (tmp_path / split).mkdir()
        for number in range(count):
            save_picture(tmp_path / split / f"{number}.png", np.concatenate([photo, label], axis=1))
    val = load(DataConfig(path=str(tmp_path), layout="side-by-side", direction="reverse", size=16), "val")
    assert val.cond.shape == val.x0.shape == (2, 16, 16, 3)
    assert (val.cond == label[:16, :16]).all()
    assert (val.x0 == photo[:16, :16]).all()
