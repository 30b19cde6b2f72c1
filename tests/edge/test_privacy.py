"""Inference contacts nobody: no file of onnxruntime's telemetry in the home folder, and no socket to the network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.edge.conftest import MakeModel

ROOT = Path(__file__).resolve().parents[2]
SWITCH = "ORT_DISABLE_TELEMETRY"
TRANSLATE = """
import sys, time
from export.edge.__main__ import main
main(sys.argv[1:])
time.sleep(1)  # Telemetry has a thread of its own.
"""


def environment(home: Path) -> dict[str, str]:
    """Of a process with another home, where nothing has been said about telemetry."""
    kept = {name: value for name, value in os.environ.items() if name != SWITCH and not name.startswith("XDG_")}
    return {**kept, "HOME": str(home), "PYTHONPATH": str(ROOT)}


@pytest.fixture
def words(make_model: MakeModel, tmp_path: Path) -> list[str]:
    """A command that opens a model and translates a photo with it."""
    Image.fromarray(np.full((8, 8, 3), 120, np.uint8)).save(tmp_path / "photo.png")
    files = (make_model(), tmp_path / "photo.png", tmp_path / "picture.png")
    return [sys.executable, "-c", TRANSLATE, *map(str, files)]


def test_the_home_folder_stays_empty_and_no_connection_is_made(words: list[str], tmp_path: Path) -> None:
    home, log = tmp_path / "home", tmp_path / "strace"
    home.mkdir()
    strace = shutil.which("strace")
    traced = [strace, "-f", "-qq", "-e", "trace=network", "-o", str(log)] if strace else []
    subprocess.run([*traced, *words], check=True, env=environment(home), stdout=subprocess.DEVNULL)
    assert (tmp_path / "picture.png").exists()
    assert list(home.rglob("*")) == []
    if strace:
        assert "AF_INET" not in log.read_text()


def test_a_value_that_the_user_has_set_stays() -> None:
    show = f"import os, export; print(os.environ[{SWITCH!r}])"
    for before, after in (({}, "1"), ({SWITCH: "0"}, "0")):
        done = subprocess.run(
            [sys.executable, "-c", show], check=True, capture_output=True, text=True, env=environment(ROOT) | before
        )
        assert done.stdout.strip() == after
