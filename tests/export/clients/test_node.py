"""The client for Node makes the pictures of `export.edge`, and refuses the rest in one line."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from export.edge.disk.home import caches
from tests.export.clients.conftest import Check, Refused

SOURCE = Path(__file__).parents[3] / "export/clients/node"


@pytest.fixture(scope="session")
def client(node: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command, with its packages from npm, which stay in the user's cache between sessions."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    wanted = hashlib.sha256((SOURCE / "package.json").read_bytes()).hexdigest()[:12]
    base = caches() or tmp_path_factory.mktemp("packages")
    folder = base / "dawn2dusk" / f"client-node-{wanted}"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        if not (folder / "complete").exists():
            shutil.copy(SOURCE / "package.json", folder)
            words = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--fetch-retries=0"]
            environment = os.environ | {"ONNXRUNTIME_NODE_INSTALL": "skip"}
            done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                pytest.skip(f"npm cannot fetch onnxruntime-node: {done.stderr.strip()[-200:]}")
            (folder / "complete").touch()
        shutil.copy(SOURCE / "translate.mjs", folder)
    return [node, str(folder / "translate.mjs")]


def test_its_pictures(client: list[str], model: Path, picture: np.ndarray, check: Check, tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(picture).save(tmp_path / "turned.jpg", quality=95, exif=turned)
    Image.fromarray(np.dstack([picture, np.where(picture[..., :1] > 128, 255, 0).astype(np.uint8)]), "RGBA").save(
        tmp_path / "glass.png"
    )
    Image.fromarray(picture[..., 1]).save(tmp_path / "grey.png")
    for name in ("turned.jpg", "glass.png", "grey.png"):
        words = [*client, model / "onnx/photo.onnx", tmp_path / name, tmp_path / f"made-{name}.png"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        check(tmp_path / name, tmp_path / f"made-{name}.png")


def test_what_it_refuses(client: list[str], model: Path, picture: np.ndarray, refused: Refused, tmp_path: Path) -> None:
    good, out, graph = tmp_path / "good.jpg", tmp_path / "out.png", model / "onnx/photo.onnx"
    Image.fromarray(picture).save(good)
    (tmp_path / "cut.jpg").write_bytes(good.read_bytes()[:-2000])
    (tmp_path / "text.jpg").write_text("no photo")
    for name in ("cut.jpg", "text.jpg", "none.jpg"):
        refused([*client, graph, tmp_path / name, out], f"{name} cannot be read (")
    refused([*client, model / "onnx/model.onnx", good, out], "takes x_t,cond,t, not a photo")
    refused([*client, good, good, out], "cannot be opened (")
    refused([*client, model / "none.onnx", good, out], "none.onnx cannot be opened (")
    refused([*client, graph, good, tmp_path / "out.gif"], "ends in none of .png, .jpg, .webp")
    refused([*client, graph, good, tmp_path / "none/out.png"], "cannot be written (")
    refused([*client, graph, good, out, "7"], "realism 7 is not from 0 to 1")
    refused([*client, graph, good], "usage: node translate.mjs")
