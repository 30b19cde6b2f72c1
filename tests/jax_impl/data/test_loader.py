"""Decoded pairs and the order in which batches take them."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from export.edge.errors import UserError
from export.edge.pictures.arrays import fit_square
from export.edge.pictures.files import open_picture, save_picture
from jax_impl.config.data import DataConfig
from jax_impl.data import loader
from jax_impl.data.loader import batch_indices, load, remarks, steps_per_epoch


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
    assert remarks(DataConfig()) == ()
    pairs_on_disk(tmp_path, 4)
    assert remarks(config(tmp_path)) == ()
    (tmp_path / "A" / "0.png").unlink()
    held, lonely = remarks(config(tmp_path, val_share=0.3))
    assert held.startswith("held out 1 of 3 pairs")
    assert lonely.startswith(f"1 picture without a partner left out, such as {tmp_path / 'B' / '0.png'}")


def test_more_than_memory_allows_is_refused_before_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "MAX_BYTES", 10_000)
    with pytest.raises(UserError, match=r"need .* GiB .* smaller data.size or fewer pairs"):
        load(config(pairs_on_disk(tmp_path, 8)), "train")


sizes = st.tuples(st.integers(1, 40), st.integers(1, 5), st.integers(1, 16))


@given(size=sizes, seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 3))
def test_an_epoch_shows_every_pair_equally_often(size: tuple[int, int, int], seed: int, epoch: int) -> None:
    pairs, repeats, batch = size
    steps = steps_per_epoch(pairs, repeats, batch)
    batches = [batch_indices(seed, epoch * steps + i, pairs, repeats, batch) for i in range(steps)]
    assert all(b.shape == (batch,) and b.dtype == np.int32 for b in batches)
    seen = Counter(np.concatenate(batches).tolist())
    assert set(seen) <= set(range(pairs))
    counts = [seen[i] for i in range(pairs)]
    if pairs * repeats >= batch:
        assert sum(counts) == steps * batch > pairs * repeats - batch
        assert max(counts) <= repeats
        assert min(counts) >= repeats - -(-(pairs * repeats - steps * batch) // pairs)
    else:
        assert max(counts) - min(counts) <= 1


def test_batches_depend_on_seed_and_step_alone() -> None:
    batches = {(seed, step): batch_indices(seed, step, 100, 2, 8).tolist() for seed in (0, 1) for step in range(60)}
    loader._shuffle.cache_clear()
    for (seed, step), batch in reversed(batches.items()):
        assert batch_indices(seed, step, 100, 2, 8).tolist() == batch
    assert batches[0, 0] != batches[1, 0]
    assert batches[0, 0] != batches[0, steps_per_epoch(100, 2, 8)], "epochs have an order each"


def test_the_order_is_not_in_favour_of_any_pair() -> None:
    firsts = Counter(int(batch_indices(seed, 0, 10, 1, 1)[0]) for seed in range(2000))
    assert all(140 < firsts[i] < 260 for i in range(10))


def test_a_returned_batch_may_be_written_to() -> None:
    batch_indices(0, 0, 10, 1, 4)[:] = -1
    assert batch_indices(0, 0, 10, 1, 4).min() >= 0


def test_no_pairs_make_no_batch() -> None:
    with pytest.raises(UserError, match="no pairs"):
        batch_indices(0, 0, 0, 1, 4)


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
