"""A model and photos, good and bad, for the clients; and what runs them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.edge.model.artifact import open_artifact
from export.edge.pictures.files import open_picture
from export.edge.translate import translate
from tests.export.graphs import photo
from tests.export.test_photo_graph import write_model
from tests.export.web.conftest import browser, launch, missing, node, onnxruntime_web

__all__ = ["browser", "launch", "missing", "node", "onnxruntime_web"]
Check = Callable[[Path, Path], None]
Refused = Callable[[Sequence[str | Path], str], None]


@pytest.fixture
def model(once: Callable[[str, Callable[[Path], object]], Path], tmp_path: Path) -> Path:
    """The artifact folder of a small model, its files to change at will."""
    return Path(shutil.copytree(once("photo_model", lambda folder: write_model(folder, {})), tmp_path / "artifact"))


@pytest.fixture
def picture() -> np.ndarray:
    return photo(90, 131)


@pytest.fixture
def check(model: Path) -> Check:
    """check(photo, found): `found` is what `export.edge` makes of the photo, within 2 of 255 levels, and no plain."""

    def compare(source: Path, found: Path) -> None:
        given = open_picture(source)
        with Image.open(found) as image:
            made = np.asarray(image.convert("RGB")).astype(int)
        assert np.abs(made - translate(open_artifact(model), given)).max() <= 2
        assert np.abs(made - given).mean() > 5

    return compare


@pytest.fixture
def refused(tmp_path: Path) -> Refused:
    """refused(command, text): the command ends with status 2 and one line with `text`, and leaves nothing."""

    def run(command: Sequence[str | Path], text: str) -> None:
        before = sorted(tmp_path.rglob("*"))
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and text in done.stderr
        assert sorted(tmp_path.rglob("*")) == before

    return run
