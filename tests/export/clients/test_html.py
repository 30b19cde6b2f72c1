"""The plain page makes the pictures of `export.edge` in a real browser, and says what it cannot use."""

from __future__ import annotations

import contextlib
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.export.clients.conftest import Check

SOURCE = Path(__file__).parents[3] / "export/clients/html"
PATIENCE = 60_000
"""Milliseconds before something that should happen has not."""


class Quiet(SimpleHTTPRequestHandler):
    """As `python -m http.server`, without a log."""

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def folder(model: Path, onnxruntime_web: Path, tmp_path: Path) -> Path:
    """What its README asks for: the page, the model and three files of onnxruntime-web."""
    place = tmp_path / "page"
    (place / "ort").mkdir(parents=True)
    (place / "index.html").write_bytes((SOURCE / "index.html").read_bytes())
    (place / "photo.onnx").write_bytes((model / "onnx/photo.onnx").read_bytes())
    with tarfile.open(onnxruntime_web) as package:
        for name in ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"):
            file = package.extractfile(f"package/dist/{name}")
            assert file is not None
            (place / "ort" / name).write_bytes(file.read())
    return place


@contextlib.contextmanager
def shown(browser: Any, folder: Path) -> Iterator[Any]:
    """The page, open in a browser."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    context = browser.new_context()
    try:
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        yield page
    finally:
        context.close()
        server.shutdown()
        server.server_close()
        thread.join()


def says(page: Any, text: str) -> None:
    page.locator("#message", has_text=text).wait_for()


def fetched(page: Any, path: Path) -> Path:
    """The picture that the page shows, as a file."""
    script = (
        "async () => [...new Uint8Array(await (await fetch(document.getElementById('picture').src)).arrayBuffer())]"
    )
    path.write_bytes(bytes(page.evaluate(script)))
    return path


def test_its_pictures(browser: Any, folder: Path, picture: np.ndarray, check: Check, tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(picture).save(tmp_path / "photo.png")
    Image.fromarray(picture).save(tmp_path / "turned.png", exif=turned)
    (tmp_path / "text.png").write_text("no photo")
    with shown(browser, folder) as page:
        says(page, "Choose a photo")
        page.set_input_files("#file", tmp_path / "photo.png")
        says(page, "131 × 90 pixels")
        check(tmp_path / "photo.png", fetched(page, tmp_path / "made.png"))
        page.set_input_files("#file", tmp_path / "text.png")
        says(page, "This file is no photo")
        # And the page still works.
        page.set_input_files("#file", tmp_path / "turned.png")
        says(page, "90 × 131 pixels")
        check(tmp_path / "turned.png", fetched(page, tmp_path / "made.png"))


def test_a_wrong_model_is_named(browser: Any, folder: Path, model: Path) -> None:
    data = (model / "onnx/model.onnx").read_bytes()
    for content in (data, data[:500], None):
        (folder / "photo.onnx").write_bytes(content or b"")
        if content is None:
            (folder / "photo.onnx").unlink()
        with shown(browser, folder) as page:
            says(page, "photo.onnx could not be loaded; put that of an export into this folder")
            assert page.locator("#file").is_disabled()


def test_it_is_short() -> None:
    assert (SOURCE / "index.html").read_text().count("\n") <= 45
