"""The page in a real browser: Chromium, onnxruntime-web, an exported net, and a person's clicks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.edge.model.artifact import open_artifact
from export.edge.model.likeness import features, fit
from export.edge.pictures.files import open_picture
from export.edge.translate import Options, translate
from export.web.build import build_page
from tests.export.web.visit import FLAGS, WIDTHS, Visit, barriers, downloaded, drop, furthest, photo, served

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
IN_SOFTWARE = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"]
"""WebGPU without a graphics card."""
SEED = 2**33 + 7


@pytest.fixture(scope="module")
def site(folder_of_models: Path, onnxruntime_web: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page") / "site"
    build_page(folder_of_models, folder, onnxruntime_web=onnxruntime_web)
    return folder


@pytest.fixture(scope="module")
def serve(site: Path) -> Iterator[Callable[[bool], str]]:
    """As `served` yields it."""
    with served(site) as switch:
        yield switch


@pytest.fixture
def visit(browser: Any, serve: Callable[[bool], str]) -> Iterator[Visit]:
    visitor = Visit(browser, serve(True))
    yield visitor
    visitor.context.close()
    assert [url for url in visitor.requests if not url.startswith((visitor.address, f"blob:{visitor.address}"))] == []


def test_a_photo_becomes_what_export_edge_makes_of_it(visit: Visit, folder_of_models: Path, tmp_path: Path) -> None:
    source = photo(tmp_path / "morning.png")
    visit.arrive()
    page = visit.page
    assert page.evaluate("crossOriginIsolated") is True
    assert page.locator("#sampler").is_hidden()
    visit.set(seed=str(SEED), steps="5")
    drop(page, source)
    visit.state("done")
    model = open_artifact(folder_of_models / "onnx/model.onnx")
    wanted = translate(model, open_picture(source), Options(steps=5), seed=SEED)
    name, found = downloaded(page)
    assert name == f"morning-translation-{SEED}.png"
    assert wanted.std() > 30  # A picture, not a plain.
    assert furthest(found, wanted) <= 2

    page.locator("#split").focus()
    page.keyboard.press("Home")
    assert page.locator("#split").get_attribute("aria-valuetext") == "0 % before, 100 % after"
    box = page.locator("#frame").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 10, steps=4)
    page.mouse.up()
    assert abs(int(page.input_value("#split")) - 80) <= 1
    assert page.evaluate("getComputedStyle(document.querySelector('#after')).clipPath").startswith("inset(0")

    for sampler in ("heun", "dpmpp"):
        visit.choose(sampler=sampler, spacing="logsnr")
        visit.draw_again()
        wanted = translate(model, open_picture(source), Options(5, sampler, "logsnr"), seed=SEED)
        assert furthest(downloaded(page)[1], wanted) <= 2
    assert visit.complaints == []


def test_a_photo_unlike_the_training_inputs_is_named(visit: Visit, tmp_path: Path) -> None:
    rng, page = np.random.default_rng(0), visit.page
    known = fit(np.stack([features(rng.integers(0, 60, (24, 24, 3), np.uint8)) for _ in range(20)]))
    assert known is not None

    def changed(route: Any) -> None:
        answer = route.fetch()
        words = {"title": "", "input": "photo", "target": "ink: drawing/1"}
        route.fulfill(response=answer, json={**answer.json(), "likeness": known.as_entry(), "words": words})

    page.route("**/model.json", changed)
    visit.arrive()
    page.set_input_files("#file", photo(tmp_path / "photo.png"))
    visit.state("done")
    text = page.locator("#unlike").text_content() or ""
    assert page.locator("#unlike").is_visible() and "unlike the pictures" in text and "expect wrong colours" in text
    assert barriers(page) == []
    assert page.locator("#after").get_attribute("alt") == "The ink: drawing/1 made from your picture"
    assert downloaded(page)[0] == "photo-ink-drawing-1-0.png"


def test_orientation_and_variants_are_followed(visit: Visit, folder_of_models: Path, tmp_path: Path) -> None:
    source = photo(tmp_path / "turned.png", orientation=6)
    visit.arrive()
    visit.choose(variant="int8")
    visit.page.set_input_files("#file", source)
    visit.state("done")
    wanted = translate(open_artifact(folder_of_models / "onnx/model_int8.onnx"), open_picture(source))
    assert wanted.shape == (83, 56, 3)
    assert furthest(downloaded(visit.page)[1], wanted) <= 2
    assert any(url.endswith("model_int8.onnx") for url in visit.requests)
    assert visit.complaints == []


def test_a_codec_and_a_second_network_are_run(
    browser: Any, two_networks: Path, onnxruntime_web: Path, tmp_path: Path
) -> None:
    artifact = two_networks / "artifact"
    build_page(artifact, tmp_path / "site", onnxruntime_web=onnxruntime_web)
    with served(tmp_path / "site") as switch:
        visit = Visit(browser, switch(True))
        visit.arrive()
        visit.set(seed=str(SEED))
        source = photo(tmp_path / "photo.png")
        visit.page.set_input_files("#file", source)
        visit.state("done")
        wanted = translate(open_artifact(artifact), open_picture(source), seed=SEED)
        assert wanted.std() > 30
        assert furthest(downloaded(visit.page)[1], wanted) <= 2
        assert visit.complaints == []
        visit.page.locator("#offline").filter(has_text="Works offline.").wait_for()
        visit.context.close()


@pytest.mark.slow  # WebGPU in software takes half a minute for one picture.
def test_webgpu_draws_the_same_where_it_is(
    launch: Callable[[list[str]], Any], serve: Callable[[bool], str], folder_of_models: Path, tmp_path: Path
) -> None:
    chromium = launch([flag for flag in FLAGS if flag != "--disable-gpu"] + IN_SOFTWARE)
    try:
        visit = Visit(chromium, serve(True))
        visit.arrive()
        assert visit.page.locator("body").get_attribute("data-backend") == "wasm"  # software is no reason to take it
        if not visit.page.evaluate("navigator.gpu?.requestAdapter().then((adapter) => adapter !== null) ?? false"):
            pytest.skip("this Chromium has no WebGPU")
        visit.choose(backend="webgpu")
        visit.page.wait_for_selector("body[data-backend=webgpu]")
        visit.page.set_input_files("#file", photo(tmp_path / "photo.png"))
        visit.state("done")
        wanted = translate(open_artifact(folder_of_models / "onnx/model.onnx"), open_picture(tmp_path / "photo.png"))
        assert furthest(downloaded(visit.page)[1], wanted) <= 2
        visit.page.locator("#offline").filter(has_text="Works offline.").wait_for()
        names = "caches.keys().then((all) => caches.open(all[0])).then((cache) => cache.keys())"
        kept = visit.page.evaluate(f"{names}.then((all) => all.map((request) => request.url))")
        assert [url for url in kept if url.endswith("asyncify.wasm")]
    finally:
        chromium.close()


def test_mistakes_are_said_and_the_page_goes_on(visit: Visit, tmp_path: Path) -> None:
    visit.arrive()
    page, alert = visit.page, visit.page.locator("#alert")
    whole = photo(tmp_path / "whole.jpg", kind="JPEG").read_bytes()
    bomb = bytearray(photo(tmp_path / "bomb.png").read_bytes())
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2
    for name, content, words in (
        ("letter.txt", b"dear diary", "not a picture that this browser can read"),
        ("cut.png", photo(tmp_path / "cut.png").read_bytes()[:60], "damaged"),
        ("bomb.png", bytes(bomb), "60000 × 60000 pixels, more than the limit"),
        ("empty.jpg", b"", "empty"),
    ):
        (tmp_path / name).write_bytes(content)
        drop(page, tmp_path / name)
        alert.filter(has_text=words).wait_for()
        visit.state("idle")
    visit.set(steps="0")
    drop(page, tmp_path / "whole.jpg")
    alert.filter(has_text="Steps must be a whole number from 1 to 100").wait_for()
    assert page.evaluate("document.activeElement.id") == "steps"
    visit.set(steps="2", seed="-1")
    drop(page, tmp_path / "whole.jpg")
    alert.filter(has_text="The seed must be").wait_for()
    visit.set(seed="1")
    assert whole[:2] == b"\xff\xd8"
    drop(page, tmp_path / "whole.jpg")
    visit.state("done")
    assert alert.is_hidden()


def test_a_damaged_model_is_not_run(visit: Visit, site: Path, tmp_path: Path) -> None:
    (model,) = site.glob("app-*/onnx/model_int8.onnx")
    whole = model.read_bytes()
    model.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    page, alert = visit.page, visit.page.locator("#alert")
    try:
        visit.arrive()
        visit.choose(variant="int8")
        alert.filter(has_text="damaged").wait_for()
    finally:
        model.write_bytes(whole)
    assert "The model file is damaged or not the one this page was made with." in (alert.text_content() or "")
    assert page.locator("body").get_attribute("data-state") != "done" and page.locator("#download").is_hidden()
    visit.choose(variant="fp32")
    page.set_input_files("#file", photo(tmp_path / "photo.png"))
    visit.state("done")
    assert alert.is_hidden() and page.locator("#download").is_visible()


def test_a_run_can_be_cancelled_by_keyboard(visit: Visit, tmp_path: Path) -> None:
    visit.arrive()
    page = visit.page
    visit.set(steps="100")
    page.set_input_files("#file", photo(tmp_path / "photo.png"))
    page.locator("#pace").filter(has_text="of 100, about").wait_for()
    page.locator("#cancel").focus()
    page.keyboard.press("Enter")
    visit.state("photo")
    assert page.locator("#forming").is_hidden() and page.locator("#before").is_visible()
    assert page.evaluate("document.activeElement.id") == "draw"
    assert page.locator("#status").text_content() == "Cancelled."
    visit.set(steps="2")
    page.keyboard.press("Tab")
    page.click("#draw")
    visit.state("done")


def test_the_page_works_without_its_server(visit: Visit, serve: Callable[[bool], str], tmp_path: Path) -> None:
    visit.arrive()
    page = visit.page
    page.locator("#offline").filter(has_text="Works offline.").wait_for()
    serve(False)
    try:
        page.reload()
        page.wait_for_selector("body[data-backend]")
        assert page.evaluate("crossOriginIsolated") is True
        page.click("#example-list button >> nth=0")
        visit.state("done")
        visit.choose(variant="int8")
        page.locator("#alert").filter(has_text="The model could not be loaded").wait_for()
        visit.choose(variant="fp32")
        visit.draw_again()
        assert page.locator("#alert").is_hidden()
    finally:
        serve(True)


# What fits follows from the width, and what can be read from the colours.
@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        *((width, "light") for width in WIDTHS),
        *(pytest.param(width, "dark", marks=() if width == "phone" else pytest.mark.slow) for width in WIDTHS),
    ],
)
def test_it_fits_and_reads_at_every_width(visit: Visit, width: str, scheme: str, tmp_path: Path) -> None:
    page = visit.page
    page.set_viewport_size(dict(zip(("width", "height"), WIDTHS[width], strict=True)))
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    visit.arrive()

    def look(name: str) -> None:
        page.screenshot(path=tmp_path / f"{width}-{scheme}-{name}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[width][0]
        assert barriers(page) == []

    look("idle")
    page.click("#example-list button >> nth=1")
    visit.state("done")
    assert page.input_value("#split") == "42"  # no gliding where motion is not wanted
    look("done")
    (tmp_path / "letter.txt").write_text("dear diary")
    page.set_input_files("#file", tmp_path / "letter.txt")
    page.locator("#alert").filter(has_text="not a picture").wait_for()
    look("error")
    assert page.locator("#split").bounding_box() == page.locator("#frame").bounding_box()
    if width == "phone":
        small = [
            name for name in ("#download", "#draw", "#another") if page.locator(name).bounding_box()["height"] < 44
        ]
        assert small == []
    assert visit.complaints == []
