"""Bad pairs: told from other failures, replaced alike everywhere, and not too many of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from export.edge.errors import UserError
from jax_impl.config.data import DataConfig
from jax_impl.data.bad_pairs import SHOWN, is_bad, replace_bad
from jax_impl.data.loader import LazyPairs, Pairs, lazy_pairs, load, tolerant
from jax_impl.data.sources import open_source
from jax_impl.runs.folder import check_data, write_data


def write_pairs(root: Path, names: str) -> Path:
    rng = np.random.default_rng(0)
    for side in ("A", "B"):
        (root / side).mkdir(parents=True)
        for name in names:
            Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)).save(root / side / f"{name}.png")
    return root


def config(path: Path, max_bad_share: float) -> DataConfig:
    return DataConfig(path=str(path), size=16, val_share=0.0, max_bad_share=max_bad_share)


def streamed(settings: DataConfig) -> LazyPairs:
    return tolerant(lazy_pairs(open_source(settings), settings, "train"))


def spoil(root: Path) -> None:
    """Of the pairs a to f: c cut short, d too small, f no picture."""
    (root / "A" / "c.png").write_bytes((root / "A" / "c.png").read_bytes()[:500])
    Image.new("RGB", (40, 7)).save(root / "B" / "d.png")
    (root / "A" / "f.png").write_text("not a picture")


def test_the_next_good_pair_replaces_a_bad_one_and_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = load(config(write_pairs(tmp_path, "abcdef"), 0.0), "train")
    spoil(tmp_path)
    mended = load(config(tmp_path, 0.5), "train")
    assert mended.names == ("a", "b", "e", "e", "e", "a")
    where = [whole.names.index(name) for name in mended.names]
    np.testing.assert_array_equal(mended.cond, whole.cond[where])
    np.testing.assert_array_equal(mended.x0, whole.x0[where])
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[2].partition(":")[0] for line in lines] == [
        " e replaces c", " e replaces d", " a replaces f",
    ]  # fmt: skip
    assert "c.png" in lines[0] and "40 by 7 pixels" in lines[1] and "f.png" in lines[2]


def test_read_as_they_are_needed_the_same_pairs_replace_bad(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil(write_pairs(tmp_path, "abcdef"))
    mended = load(config(tmp_path, 0.5), "train")
    capsys.readouterr()
    source = streamed(config(tmp_path, 0.5))
    for position in (5, 3, 2, 0, 1, 4, 3):
        cond, x0 = source.read(position)
        np.testing.assert_array_equal(cond, mended.cond[position])
        np.testing.assert_array_equal(x0, mended.x0[position])
    named = [line.partition(": ")[2].partition(":")[0] for line in capsys.readouterr().err.splitlines()]
    assert named == [f"the next pair replaces {name}" for name in "fdc"]
    strict = streamed(config(tmp_path, 0.4))
    strict.read(2)
    strict.read(3)
    with pytest.raises(UserError, match=r"3 or more of 6 training pairs .* data\.max_bad_share \(0\.4\)"):
        strict.read(5)


def test_too_many_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil(write_pairs(tmp_path, "abcdef"))
    with pytest.raises(UserError, match=r"3 or more of 6 training pairs .* data\.max_bad_share \(0\.4\).*c\.png"):
        load(config(tmp_path, 0.4), "train")
    with pytest.raises(UserError, match=r"^picture .*c\.png is damaged"):
        load(config(tmp_path, 0.01), "train")
    for side in ("A", "B"):
        for name in "abe":
            (tmp_path / side / f"{name}.png").unlink()
    with pytest.raises(UserError, match="3 or more of 3"):
        load(config(tmp_path, 1.0), "train")
    assert capsys.readouterr().err == ""


def test_held_out_pairs_are_never_replaced(tmp_path: Path) -> None:
    write_pairs(tmp_path / "train", "ab")
    spoil(write_pairs(tmp_path / "val", "abcdef"))
    with pytest.raises(UserError, match=r"c\.png"):
        load(config(tmp_path, 1.0), "val")


def test_a_file_that_is_gone_or_a_failing_disk_or_memory_is_no_bad_pair(tmp_path: Path) -> None:
    pair = open_source(config(write_pairs(tmp_path, "ab"), 1.0)).splits["train"][0]

    def caused(cause: Exception) -> UserError:
        error = UserError("x")
        error.__cause__ = cause
        return error

    assert is_bad(pair, caused(OSError("image file is truncated")))
    assert not is_bad(pair, caused(OSError(5, "Input/output error")))
    assert not is_bad(pair, caused(MemoryError()))
    (tmp_path / "B" / "a.png").unlink()
    assert not is_bad(pair, UserError("x"))


def test_a_mended_picture_is_noticed_and_said_on_resume(tmp_path: Path) -> None:
    data, kept = write_pairs(tmp_path / "data", "abcdef"), tmp_path / "kept"
    shutil.copytree(data, kept)
    spoil(data)
    bad, whole = load(config(data, 0.5), "train"), load(config(kept, 0.5), "train")
    write_data(tmp_path, bad, bad)
    check_data(tmp_path, bad, bad)
    with pytest.raises(UserError, match=r"c where e was: .* a picture that cannot be read mended or damaged"):
        check_data(tmp_path, whole, bad)


@given(flags=st.lists(st.booleans(), min_size=1, max_size=30).filter(lambda flags: not all(flags)))
def test_good_pairs_stay_and_each_bad_one_becomes_the_nearest_good_one_after_it(flags: list[bool]) -> None:
    names = [str(i) for i in range(len(flags))]
    cond = np.arange(len(flags), dtype=np.uint8)
    x0 = cond + 100
    bad = {i: UserError(f"reason {i}") for i in reversed(range(len(flags))) if flags[i]}
    pairs = Pairs(replace_bad(names, cond, x0, bad), cond, x0)
    assert pairs.names == tuple(str(i) for i in cond)
    np.testing.assert_array_equal(x0, cond + 100)
    for i, chosen in enumerate(cond.tolist()):
        distances = [(j - i) % len(flags) for j in range(len(flags)) if not flags[j]]
        assert (chosen - i) % len(flags) == min(distances)


def test_of_many_only_some_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    arrays = np.zeros((2, 20), np.uint8)
    replace_bad([str(i) for i in range(20)], *arrays, {i: UserError("reason") for i in range(15)})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == SHOWN + 1
    assert lines[-1] == "warning: and 5 more pairs are replaced"
