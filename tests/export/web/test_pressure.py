"""The page on a device that runs out of memory, as iOS does with threads: one thread, then a smaller picture."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from export.edge.model.artifact import open_artifact
from export.edge.pictures.files import open_picture
from export.edge.translate import translate
from export.web.build import build_page

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
from tests.export.web.visit import Visit, barriers, downloaded, furthest, photo, served

DEVICE = """
const { Memory } = WebAssembly;
WebAssembly.Memory = class extends Memory {
  constructor(wish) {
    if (wish.shared && wish.maximum > RESERVED) throw new RangeError('Out of memory');
    super({ ...wish, maximum: Math.min(wish.maximum, THERE) });
  }
};
"""
"""A device that can reserve and give so many pages of 64 KiB: what fails on it fails in onnxruntime itself."""


@pytest.fixture
def page_on(folder_of_models: Path, onnxruntime_web: Path, tmp_path: Path) -> Callable[..., Path]:
    """page_on(reserved, there, **changes): the folder of a page for such a device, with changes to its model.json."""

    def build(reserved: int, there: int, **changes: Any) -> Path:
        build_page(folder_of_models, tmp_path / "site", onnxruntime_web=onnxruntime_web)
        (app,) = (tmp_path / "site").glob("app-*")
        (app / "device.js").write_text(DEVICE.replace("RESERVED", str(reserved)).replace("THERE", str(there)))
        (app / "worker.js").write_text("import './device.js';\n" + (app / "worker.js").read_text())
        model = json.loads((app / "model.json").read_text())
        (app / "model.json").write_text(json.dumps(model | changes))
        return tmp_path / "site"

    return build


def test_with_one_thread_the_picture_is_the_same(
    browser: Any, page_on: Callable[..., Path], folder_of_models: Path, tmp_path: Path
) -> None:
    with served(page_on(reserved=2**15, there=2**15)) as switch:
        visit = Visit(browser, switch(True))
        visit.arrive()
        page = visit.page
        assert page.evaluate("crossOriginIsolated && navigator.hardwareConcurrency > 1")
        note = "Out of memory: the page goes on with one thread."
        assert page.locator("#note").text_content() == note
        assert page.locator("#engine").text_content() == "Runs on WebAssembly, one thread."
        assert page.locator("#alert").is_hidden()
        page.set_input_files("#file", photo(tmp_path / "photo.png"))
        visit.state("done")
        wanted = translate(open_artifact(folder_of_models / "onnx/model.onnx"), open_picture(tmp_path / "photo.png"))
        assert furthest(downloaded(page)[1], wanted) <= 2
        assert barriers(page) == []
        visit.context.close()


def test_then_with_a_smaller_picture(browser: Any, page_on: Callable[..., Path], tmp_path: Path) -> None:
    with served(page_on(reserved=2**14, there=1280, size=1024, steps=1)) as switch:
        visit = Visit(browser, switch(True))
        visit.arrive()
        page = visit.page
        page.set_input_files("#file", photo(tmp_path / "photo.png"))
        visit.state("done")
        note = "Out of memory again: the page goes on with one thread and a smaller picture (512 pixels, not 1024)."
        page.screenshot(path=tmp_path / "smaller.png")
        assert page.locator("#note").text_content() == note
        assert page.locator("#alert").is_hidden()
        assert downloaded(page)[1].shape == (56, 83, 3)
        visit.context.close()


@pytest.mark.slow  # The same way as that of a photo, above.
def test_a_film_goes_on_with_a_smaller_picture(browser: Any, page_on: Callable[..., Path]) -> None:
    with served(page_on(reserved=2**14, there=1280, size=1024, steps=1)) as switch:
        visit = Visit(browser, switch(True))
        visit.arrive()
        page = visit.page
        page.click("#tab-camera")
        page.click("#live-start")
        page.wait_for_selector("body[data-live=live]")
        page.locator("#note").filter(has_text="a smaller picture (512 pixels, not 1024)").wait_for()
        assert page.locator("#alert").is_hidden() and page.locator("#note").is_visible()
        page.click("#live-stop")
        visit.context.close()


def test_where_nothing_helps_it_says_so(browser: Any, page_on: Callable[..., Path], tmp_path: Path) -> None:
    with served(page_on(reserved=1, there=1)) as switch:
        visit = Visit(browser, switch(True))
        page = visit.page
        page.goto(visit.address)
        page.locator("#alert").filter(has_text="too little memory").wait_for()
        for _ in range(2):
            page.set_input_files("#file", photo(tmp_path / "photo.png"))
            page.wait_for_selector("body[data-state=idle] #alert")
        page.click("#tab-camera")
        page.click("#live-start")
        page.locator("#live-below #alert").filter(has_text="too little memory").wait_for()
        page.wait_for_selector("body[data-live=idle]")
        visit.context.close()
