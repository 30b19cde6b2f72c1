"""The built distribution on its own: the wheel in a bare environment, the source archive as good as the checkout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trove_classifiers import classifiers

from tests.end_to_end.test_slim_edge import write_negative


def call(*words: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command with nothing of this process's settings that could lend it a library."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COVERAGE", "VIRTUAL_ENV"))}
    return subprocess.run([*map(str, words)], cwd=folder, env=kept, capture_output=True, text=True, check=False)


@pytest.mark.slow  # pip fetches numpy, Pillow and onnxruntime.
def test_the_wheel_with_its_extra_runs_a_model_in_a_bare_environment(wheel: Path, tmp_path: Path) -> None:
    venv.EnvBuilder(with_pip=True).create(tmp_path / "bare")
    binaries = tmp_path / "bare" / ("Scripts" if os.name == "nt" else "bin")
    done = call(binaries / "python", "-m", "pip", "install", "-q", f"{wheel}[edge]", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    write_negative(tmp_path / "model.onnx")
    photo = np.full((20, 30, 3), (10, 100, 200), np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    done = call(binaries / "dawn2dusk", "edge", "model.onnx", "photo.png", "sunset.png", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    made = np.asarray(Image.open(tmp_path / "sunset.png")).astype(int)
    assert np.abs(made - (255 - photo)).max() <= 1
    code = "import export.edge; print(export.edge.load('model.onnx').translate('photo.png').size)"
    assert call(binaries / "python", "-c", code, folder=tmp_path).stdout == "(30, 20)\n"
    listed = call(binaries / "dawn2dusk", folder=tmp_path)
    assert listed.returncode == 0 and "  train " in listed.stdout and "  edge " in listed.stdout
    for name, extra in (("train", "jax"), ("export", "export"), ("convert", "torch")):
        done = call(binaries / "dawn2dusk", name, "--help", folder=tmp_path)
        assert done.returncode == 2 and done.stderr.count("\n") == 1
        assert f"with its extra {extra}" in done.stderr


def test_the_source_archive_makes_the_same_wheel_and_holds_what_tests_need(
    root: Path, wheel: Path, tmp_path: Path
) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-d", str(tmp_path)]
    subprocess.run([*build, "-t", "sdist"], cwd=root, capture_output=True, check=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as held:
        held.extractall(tmp_path, filter="data")
    (source,) = (path for path in tmp_path.iterdir() if path.is_dir())
    subprocess.run([*build, "-t", "wheel"], cwd=source, capture_output=True, check=True)
    (again,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        sums = [{item.filename: item.CRC for item in each.infolist()} for each in (one, other)]
    assert sums[0] == sums[1]
    for name in ("tests/conftest.py", "docs/api.md", "mkdocs.yml", "Makefile", "constraints.txt", "CONTRIBUTING.md"):
        assert (source / name).is_file(), name


def test_the_metadata_are_complete(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        text = archive.read(name).decode()
    given = [line.removeprefix("Classifier: ") for line in text.splitlines() if line.startswith("Classifier: ")]
    assert set(given) <= set(classifiers)
    assert {classifier.partition(" :: ")[0] for classifier in given} == {
        "Development Status", "Environment", "Intended Audience", "Operating System", "Programming Language", "Topic",
        "Typing",
    }  # fmt: skip
    # Not on an index: what is installed is a file or a folder.
    assert not re.findall(r"pip install [\"']?dawn2dusk(?!-)", text)
