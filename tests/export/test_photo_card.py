"""The card's examples that can be run here make the picture of `export.edge`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.edge.model.artifact import open_artifact
from export.edge.translate import translate
from export.photo_card import EXAMPLES, NOT_RUN, PYTHON, lines
from tests.export.graphs import photo
from tests.export.test_photo_graph import write_model

PICTURE = photo(61, 90)


@pytest.fixture
def folder(once: Callable[[str, Callable[[Path], object]], Path], tmp_path: Path) -> Path:
    """An artifact folder with a photo beside it."""
    model = once("photo_model", lambda new: write_model(new, {}))
    shutil.copytree(model / "onnx", tmp_path / "onnx")
    Image.fromarray(PICTURE).save(tmp_path / "photo.jpg", "PNG")  # Known by its content.
    return tmp_path


def check(picture: np.ndarray, folder: Path) -> None:
    wanted = translate(open_artifact(folder), PICTURE)
    assert np.abs(picture.astype(int) - wanted).max() <= 2


def test_python(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    exec(compile(PYTHON, "card", "exec"), {"__name__": "__main__"})
    with Image.open(folder / "result.png") as made:
        check(np.asarray(made), folder)


def test_what_was_not_run_is_marked() -> None:
    text = "\n".join(lines(["photo.onnx", "photo_int8.onnx"]))
    assert "`onnx/photo.onnx`, `onnx/photo_int8.onnx`" in text
    for language in EXAMPLES:
        assert f"\n{language}{' (not run by us)' if language in NOT_RUN else ''}:\n" in text
    assert all(code.strip().count("\n") <= 13 for _, code in EXAMPLES.values())
