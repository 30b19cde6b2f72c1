"""A layout of a user's own module, driven by the commands."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from export.edge.errors import UserError
from jax_impl import train
from jax_impl.config.data import DataConfig
from jax_impl.data.loader import lazy_pairs, load
from jax_impl.data.sources import SOURCES, Pair, make_source, open_source
from jax_impl.data.synthetic import render_pair

PLUGIN = '''
"""Pairs in one .npz file: the arrays cond and x0, uint8 (pairs, height, width, 3)."""

from pathlib import Path

import numpy as np

from jax_impl.data.sources import SOURCES, Pair, make_source


class Arrays:
    def recognises(self, config):
        return config.path.endswith(".npz")

    def open(self, config):
        arrays = np.load(config.path)
        cond, x0 = arrays["cond"], arrays["x0"]
        pairs = [Pair(f"{i:04d}", key=i) for i in range(len(cond))]
        origin = f"npz of {Path(config.path).stat().st_size} bytes"
        return make_source("npz", pairs, config, read=lambda pair: (cond[pair.key], x0[pair.key]), origin=origin)


SOURCES.add("npz", Arrays())
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the plugin `npz_layout` and ten pairs."""
    (tmp_path / "npz_layout.py").write_text(PLUGIN)
    cond, x0 = zip(*(render_pair(i, 48) for i in range(10)), strict=True)
    (tmp_path / "data").mkdir()
    np.savez(tmp_path / "data" / "pairs.npz", cond=np.stack(cond), x0=np.stack(x0))
    return tmp_path


@pytest.fixture
def plugin(folder: Path) -> Iterator[Path]:
    """The same folder, with the plugin loaded here."""
    exec(compile(PLUGIN, "npz_layout", "exec"), {})
    yield folder
    del SOURCES._entries["npz"]


def command(folder: Path, root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_splits_directions_and_squares_come_with_it(plugin: Path) -> None:
    config = DataConfig(path=str(plugin / "data" / "pairs.npz"), size=16, val_share=0.3)
    source = open_source(config)
    assert (source.layout, [len(source.splits[split]) for split in ("train", "val", "test")]) == ("npz", [7, 3, 0])
    assert source.remarks()[0].startswith("held out 3 of 10 pairs")
    assert lazy_pairs(source, config, "train").origin().startswith("npz of ")
    train, turned = load(config, "train"), load(DataConfig(**{**vars(config), "direction": "reverse"}), "train")
    np.testing.assert_array_equal(train.cond, turned.x0)
    np.testing.assert_array_equal(train.x0, turned.cond)
    assert train.cond.shape == (7, 16, 16, 3) and (train.cond != train.x0).any()


def test_the_layout_that_was_added_last_is_asked_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Everything:
        def recognises(self, config: DataConfig) -> bool:
            return config.path == str(tmp_path)

        def open(self, config: DataConfig) -> object:
            return make_source("everything", [Pair("a", key=0)], config, read=lambda pair: render_pair(0, 16))

    monkeypatch.setitem(SOURCES._entries, "everything", Everything())
    assert open_source(DataConfig(path=str(tmp_path))).layout == "everything"
    assert open_source(DataConfig(synthetic_pairs=1)).layout == "scenes"
    assert open_source(DataConfig(synthetic_pairs=1, layout="folders")).layout == "scenes"
    with pytest.raises(UserError, match="holds no manifest"):
        open_source(DataConfig(path=str(tmp_path), layout="manifest"))


def test_what_a_reader_must_not_return_is_named(plugin: Path) -> None:
    np.savez(
        plugin / "data" / "pairs.npz", cond=np.zeros((2, 16, 16, 3), np.float32), x0=np.zeros((2, 16, 16, 3), np.uint8)
    )
    config = DataConfig(path=str(plugin / "data" / "pairs.npz"), size=16, val_share=0.0)
    with pytest.raises(UserError, match=r"0000 \(input\) is float32 \(16, 16, 3\): .*layout npz.* uint8"):
        load(config, "train")


def test_doctor_takes_it_by_the_plugin_flag(folder: Path, root: Path) -> None:
    words = ["--plugin", "npz_layout", "--layout", "npz", "--size", "16", "--json", "report.json"]
    done = command(folder, root, "jax_impl.doctor", "data/pairs.npz", *words, "--align", "aligned")
    assert done.returncode == 0, done.stderr
    report = json.loads((folder / "report.json").read_text())
    assert (report["layout"], report["pairs"]["train"]) == ("npz", 9)
    assert re.search(r"000\d \(input\)  ->  000\d \(target\)", done.stdout) and (folder / "doctor.png").exists()
    assert len(list((folder / "aligned" / "train" / "A").iterdir())) == 9


def test_without_the_flag_it_is_unknown(folder: Path) -> None:
    words = ["--data.path", str(folder / "data" / "pairs.npz"), "--data.layout", "npz"]
    with pytest.raises(UserError, match=r"data\.layout is 'npz': choose one of auto, .* with --plugin"):
        train.main(["tiny", *words, "--output-dir", str(folder / "run")])
    assert not (folder / "run").exists()


@pytest.mark.slow  # A training in a process; that of tests/end_to_end/test_extending.py has a layout of this kind too.
def test_train_takes_it_by_the_plugin_flag(folder: Path, root: Path) -> None:
    small = ["--data.path", "data/pairs.npz", "--data.layout", "npz", "--data.size", "16", "--data.repeats", "1"]
    small += ["--model.patch", "4", "--model.width", "8", "--model.groups", "4", "--model.blocks", "1"]
    small += ["--model.multipliers", "1"]
    small += ["--train.epochs", "1", "--train.batch-size", "3", "--output-dir", "run"]
    done = command(folder, root, "jax_impl.train", "tiny", "--plugin", "npz_layout", *small)
    assert done.returncode == 0, done.stderr
    assert "9 training pairs in memory, 1 held out" in done.stdout and (folder / "run" / "data.json").exists()
