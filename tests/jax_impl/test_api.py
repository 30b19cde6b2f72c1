"""The Python API: what the commands do, and no more of them than one line for a mistake."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import jax_impl
from export.edge.errors import UserError
from export.edge.pictures.files import open_picture
from jax_impl import sample
from jax_impl.config.tree import Config
from jax_impl.data.stored import store_pairs
from jax_impl.notebook import Notebook, notebook_callbacks
from jax_impl.runs.bundles import read_bundle
from jax_impl.training.interfaces import SamplePictures
from jax_impl.training.report import read_log


class Recorder(jax_impl.Callback):
    def __init__(self) -> None:
        self.seen: list[tuple[str, int, Any]] = []

    def on_start(self, step: int, steps: int) -> None:
        self.seen.append(("start", step, steps))

    def on_step(self, step: int, metrics: Mapping[str, float]) -> None:
        self.seen.append(("step", step, dict(metrics)))

    def on_epoch(self, step: int, metrics: Mapping[str, float]) -> None:
        self.seen.append(("epoch", step, dict(metrics)))

    def on_pictures(self, step: int, pictures: SamplePictures) -> None:
        self.seen.append(("pictures", step, pictures))


def test_importing_the_package_loads_neither_jax_nor_numpy(root: Path) -> None:
    code = "import sys, jax_impl; print(*(name for name in ('jax', 'numpy', 'jax_impl.api') if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_fit_trains_as_the_command_does_and_tells_its_callbacks(
    small_config: Callable[..., Config], trained_run: Path, tmp_path: Path
) -> None:
    recorder = Recorder()
    changed = {"train.epochs": 2, "optim.more_ema_decays": (0.2, 0.3)}
    run = jax_impl.fit(
        "synthetic", small_config(epochs=9), output_dir=tmp_path / "run", settings=changed, callbacks=[recorder]
    )
    ours, theirs = read_bundle(run.weights).weights, read_bundle(trained_run / "model.safetensors").weights
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
    assert run.config == jax_impl.Run(trained_run).config
    assert [(kind, step) for kind, step, _ in recorder.seen] == [
        ("start", 0), ("step", 1), ("step", 2), ("step", 3), ("epoch", 3), ("pictures", 3),
        ("step", 4), ("step", 5), ("step", 6), ("epoch", 6), ("pictures", 6),
    ]  # fmt: skip
    told = [{"step": step, **seen} for kind, step, seen in recorder.seen if kind in ("step", "epoch")]
    assert told == read_log(run.folder) == run.metrics
    pictures = recorder.seen[-1][2]
    assert {(side.dtype.name, side.shape) for side in pictures} == {("uint8", (3, 16, 16, 3))}
    assert recorder.seen[0][2] == 6


def test_sample_makes_what_the_command_makes_of_any_kind_of_picture(trained_run: Path, tmp_path: Path) -> None:
    sizes = [(37, 21), (16, 16), (21, 37)]
    arrays = [np.random.default_rng(i).integers(0, 256, (h, w, 3), np.uint8) for i, (w, h) in enumerate(sizes)]
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path, array in zip(paths, arrays, strict=True):
        Image.fromarray(array).save(path)
    made = jax_impl.Run(trained_run).sample([arrays[0], Image.fromarray(arrays[1]), str(paths[2])], 3, seed=4)
    words = ["--run", str(trained_run), "--steps", "3", "--seed", "4", "--input", *map(str, paths)]
    sample.main([*words, "--output", str(tmp_path / "out")])
    for path, picture, array in zip(paths, made, arrays, strict=True):
        assert picture.shape == array.shape
        assert np.abs(open_picture(tmp_path / "out" / path.name).astype(int) - picture).max() <= 1


def test_evaluate_returns_the_report_on_the_runs_own_pairs(trained_run: Path, tmp_path: Path) -> None:
    report = jax_impl.Run(trained_run).evaluate(tmp_path / "scores", steps=2)
    assert report["data"]["pairs"] == 3 and report["run_step"] == 6
    assert report["methods"]["model"]["steps"] == 2
    assert (tmp_path / "scores/contact_sheet.png").exists()


def test_a_failed_export_is_one_line_with_the_message_of_its_process(trained_run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=r"^export failed: --output \S+file is a file; name a folder$"):
        jax_impl.Run(trained_run).export(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.slow
def test_export_runs_in_a_process_of_its_own(trained_run: Path, tmp_path: Path) -> None:
    """The examples of the documentation export in the process of the tests."""
    made = jax_impl.Run(trained_run).export(tmp_path / "artifact", ["--variants", "fp32"])
    assert made == tmp_path / "artifact" and (made / "onnx/model.onnx").exists()


PICTURES = np.zeros((4, 16, 16, 3), np.uint8)


@pytest.mark.parametrize(
    ("pairs", "options", "message"),
    [
        ((PICTURES, PICTURES[:3]), {}, "there are 4 inputs and 3 targets"),
        ((PICTURES, PICTURES / 255), {}, r"targets are an array float64 \(4, 16, 16, 3\); give uint8"),
        ((PICTURES[..., 0], PICTURES), {}, r"inputs are an array uint8 \(4, 16, 16\)"),
        ((PICTURES, PICTURES), {"preset": "tinny"}, "preset is 'tinny': choose one of seed, tiny"),
        (
            (PICTURES, PICTURES), {"settings": {"train.epoch": 3}},
            "train.epoch is not a setting; did you mean config.train.epochs",
        ),
        ((PICTURES, PICTURES), {"settings": {"data.path.x": 3}}, "data.path.x is not a setting: path has no parts"),
        ((PICTURES, PICTURES), {"settings": {"train.epochs": "3"}}, "train.epochs is '3': a value of type int"),
        ("nowhere", {}, "nowhere does not exist"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_leaves_nothing(
    pairs: Any, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        jax_impl.fit(pairs, output_dir=tmp_path / "run", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_run_and_pairs_that_are_not_the_same(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no config\.json"):
        jax_impl.Run(tmp_path)
    rng = np.random.default_rng(0)
    inputs, targets = rng.integers(0, 256, (3, 9, 12, 3), np.uint8), rng.integers(0, 256, (3, 8, 8, 3), np.uint8)
    folder = store_pairs(tmp_path / "pairs", inputs, targets)
    for side, pictures in (("A", inputs), ("B", targets)):
        np.testing.assert_array_equal([open_picture(path) for path in sorted((folder / side).iterdir())], pictures)
    assert store_pairs(folder, inputs, targets) == folder
    for others in ((inputs[:2], targets[:2]), (inputs, 255 - targets)):
        with pytest.raises(UserError, match="holds other pairs"):
            store_pairs(folder, *others)


def test_a_notebook_shows_one_line_and_one_sheet(monkeypatch: pytest.MonkeyPatch) -> None:
    """IPython's functions are replaced by a list of what they are asked to show."""
    shown: list[list[Any]] = []

    def display(first: Any, *, display_id: bool) -> SimpleNamespace:
        assert display_id
        shown.append([first])
        return SimpleNamespace(update=shown[-1].append)

    shell = SimpleNamespace(kernel=object())
    ipython = SimpleNamespace(get_ipython=lambda: shell, display=SimpleNamespace(display=display))
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert notebook_callbacks() == []
    monkeypatch.setitem(sys.modules, "IPython", ipython)  # type: ignore[arg-type]
    (callback,) = notebook_callbacks()
    assert isinstance(callback, Notebook)
    side = np.zeros((2, 16, 16, 3), np.uint8)
    callback.on_start(0, 4)
    callback.on_step(1, {"loss": 0.5})
    callback.on_epoch(2, {"train_loss": 0.25, "val_loss": 0.75})
    callback.on_pictures(2, SamplePictures(side, side, side))
    callback.on_pictures(4, SamplePictures(side, side, side))
    callback.on_step(4, {"loss": 0.125})
    line, sheet = shown
    assert repr(line[0]) == "step 0 of 4, compiling" and repr(line[1]).startswith("step 1 of 4, loss 0.5000, ")
    assert repr(line[-1]) == "step 4 of 4, loss 0.1250, train_loss 0.2500, val_loss 0.7500, 0 s left"
    assert len(sheet) == 2 and all(isinstance(picture, Image.Image) for picture in sheet)
    del shell.kernel
    assert notebook_callbacks() == []
