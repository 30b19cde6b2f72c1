"""What a person does with the page in a browser, and what comes of it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from export.web.serve import make_server

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--use-fake-device-for-media-stream=fps=30", "--use-fake-ui-for-media-stream"),
]
WIDTHS = {"desktop": (1280, 800), "phone": (390, 844)}
PATIENCE = 30_000
"""Milliseconds before something that should happen has not."""


class Visit:
    """One browser, its page, and all that it asked for or complained of."""

    def __init__(self, browser: Any, address: str) -> None:
        self.address = address
        self.context = browser.new_context(viewport=dict(zip(("width", "height"), WIDTHS["desktop"], strict=True)))
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.context.on("request", lambda request: self.requests.append(request.url))
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def arrive(self) -> None:
        self.page.goto(self.address)
        self.page.wait_for_selector("body[data-backend]")

    def state(self, name: str) -> None:
        self.page.wait_for_selector(f"body[data-state={name}]")

    def draw_again(self) -> None:
        before = self.page.locator("#download").get_attribute("href")
        self.page.click("#draw")
        self.page.locator(f'#download:not([href="{before}"])').wait_for()
        self.state("done")

    def choose(self, **values: str) -> None:
        """Choose from lists, which the advanced settings hold."""
        if self.page.locator("#advanced").get_attribute("open") is None:
            self.page.click("#advanced summary")
        for name, value in values.items():
            self.page.select_option(f"#{name}", value)

    def set(self, **values: str) -> None:
        for name, value in values.items():
            self.page.fill(f"#{name}", value)


def photo(path: Path, orientation: int = 1, kind: str = "PNG") -> Path:
    """An 83 x 56 picture of ramps and noise, stored turned where `orientation`, of EXIF, says so."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:56, :83]
    pixels = np.stack([3 * x, 4 * y, 255 - 2 * x], -1) + rng.normal(0, 12, (56, 83, 1))
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path, kind, exif=exif)
    return path


def drop(page: Any, path: Path, kind: str = "image/png") -> None:
    """Drop a file on the page, as a person would with a mouse."""
    page.evaluate(
        """([bytes, name, type]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([Uint8Array.from(bytes)], name, { type }));
            for (const what of ['dragenter', 'dragover', 'drop']) {
                document.querySelector('#frame').dispatchEvent(
                    new DragEvent(what, { bubbles: true, cancelable: true, dataTransfer: transfer }));
            }
        }""",
        [list(path.read_bytes()), path.name, kind],
    )


def downloaded(page: Any) -> tuple[str, np.ndarray]:
    with page.expect_download() as download:
        page.click("#download")
    with Image.open(BytesIO(Path(download.value.path()).read_bytes())) as picture:
        assert picture.format == "PNG"
        return download.value.suggested_filename, np.asarray(picture.convert("RGB"))


def barriers(page: Any) -> list[str]:
    """What axe-core finds that would keep someone out: labels, contrast, roles, names."""
    found = axe.Axe().run(page).response["violations"]
    return [f"{problem['id']}: {node['html']}" for problem in found for node in problem["nodes"]]


def furthest(a: np.ndarray, b: np.ndarray) -> int:
    assert a.shape == b.shape
    return int(np.abs(a.astype(int) - b).max())


@contextlib.contextmanager
def served(site: Path) -> Iterator[Callable[[bool], str]]:
    """Yields switch: switch(True) starts the server of a site and switch(False) ends it; both return its address."""
    running: list[tuple[Any, threading.Thread]] = []
    port = 0

    def switch(on: bool) -> str:
        nonlocal port
        if on and not running:
            server = make_server(site, port=port)
            port = server.server_port
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            running.append((server, thread))
        elif not on and running:
            server, thread = running.pop()
            server.shutdown()
            server.server_close()
            thread.join()
        return f"http://127.0.0.1:{port}/"

    yield switch
    switch(False)
