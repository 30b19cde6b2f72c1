"""The camera tab in a real browser: Chromium's own camera, videos, a recording, and all that can go wrong."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.edge.model.artifact import open_artifact
from export.edge.translate import Options, translate
from export.web.build import build_page
from tests.export.graphs import photo as scene
from tests.export.web.visit import PATIENCE, WIDTHS, Visit, barriers, furthest, photo, served

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
av = pytest.importorskip("av", reason="PyAV is not installed (the extra video)")
from tests.export.films import write_film  # noqa: E402
from tests.figures.camera import COUNT  # noqa: E402

WATCH = """
    window.changes = [];
    let last = null;
    document.addEventListener('painted', ({ target }) => {
        const context = new OffscreenCanvas(target.width, target.height).getContext('2d');
        context.drawImage(target, 0, 0);
        const { data } = context.getImageData(0, 0, target.width, target.height);
        const apart = last && data.reduce((sum, value, i) => sum + Math.abs(value - last[i]), 0);
        if (last) window.changes.push(apart / (0.75 * data.length));
        last = data;
    }, true);
"""
"""How far each frame is from the one before, on average over red, green and blue, in levels: `changes`."""
RATE = re.compile(r"^[0-9.]+ frames a second, 640 × 480, (new colours [0-9.]+ times, )?7 passes each$")
REFUSE = "name => { navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('no', name)); }"
BOTH = """
    async ([app, data, width, height, settings]) => {
        const model = await (await fetch(`${app}/model.json`)).json();
        const { makePainter } = await import(`${app}/painter.js`);
        const worker = new Worker(`${app}/worker.js`, { type: 'module' });
        const answer = (kind) => new Promise((resolve, reject) => {
            worker.onmessage = ({ data }) => data.kind === kind ? resolve(data) : data.message && reject(data.message);
        });
        worker.postMessage({ kind: 'open', model, variant: model.variants[0], backend: 'wasm', attempt: 0 });
        const pixels = Uint8ClampedArray.from(data);
        const image = { data: pixels.slice(), width, height };
        const given = { ...settings, seed: [0, 0], guidance: 1, realism: 1 };
        worker.postMessage({ kind: 'frame', film: 1, image, time: 0, settings: given });
        const { change } = await answer('frame');
        const canvas = () => new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
        const still = canvas();
        still.putImageData(new ImageData(pixels, width, height), 0, 0);
        const [plain, gpu] = [makePainter(null), makePainter(true)];
        const shown = (painter) => {
            painter.paint(painter.gpu ? still.canvas : { data: pixels, width, height }, change);
            const read = canvas();
            read.drawImage(painter.canvas, 0, 0);
            return Array.from(read.getImageData(0, 0, width, height).data);
        };
        return [gpu.gpu, shown(plain), shown(gpu)];
    }
"""


@pytest.fixture(scope="module")
def address(folder_of_models: Path, onnxruntime_web: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    site = tmp_path_factory.mktemp("camera") / "site"
    build_page(folder_of_models, site, onnxruntime_web=onnxruntime_web)
    with served(site) as switch:
        yield switch(True)


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Visit]:
    visitor = Visit(browser, address)
    yield visitor
    visitor.context.close()


def live(visit: Visit, state: str) -> None:
    visit.page.wait_for_selector(f"body[data-live={state}]")


def until(visit: Visit, condition: str) -> None:
    """Wait for an expression; the page's policy forbids Playwright's own way to."""
    end = time.monotonic() + PATIENCE / 1000
    while not visit.page.evaluate(condition):
        assert time.monotonic() < end, condition
        visit.page.wait_for_timeout(30)


def tracks(visit: Visit) -> str:
    """The state of the camera's track that was there when this was last asked while one was."""
    return visit.page.evaluate(
        """() => {
            const [track] = document.querySelector('#live-video').srcObject?.getTracks() ?? [window.track];
            return (window.track = track).readyState;
        }"""
    )


def start(visit: Visit) -> None:
    visit.page.click("#live-start")
    live(visit, "live")
    assert tracks(visit) == "live"


def test_both_ways_to_paint_give_the_full_transfer(visit: Visit, folder_of_models: Path) -> None:
    visit.page.goto(visit.address)
    app = visit.page.locator("link[rel=stylesheet]").get_attribute("href").rsplit("/", 1)[0]
    picture = scene(130, 172)
    opaque = np.dstack([picture, np.full(picture.shape[:2], 255, np.uint8)])
    settings = {"steps": 2, "sampler": "ddim", "spacing": "trailing"}
    question = [f"{visit.address}{app}", opaque.ravel().tolist(), 172, 130, settings]
    gpu, *painted = visit.page.evaluate(BOTH, question)
    model = open_artifact(folder_of_models / "onnx/model.onnx")
    wanted = translate(model, picture, Options(steps=2, sampler="ddim", spacing="trailing"))
    assert wanted.std() > 30
    assert gpu, "this Chromium has no WebGL, not even in software"
    for found in painted:
        assert furthest(np.array(found, np.uint8).reshape(130, 172, 4)[..., :3], wanted) <= 2


def test_the_camera_is_shown_recorded_and_freed(visit: Visit, tmp_path: Path) -> None:
    visit.page.add_init_script(COUNT)
    visit.arrive()
    page = visit.page
    page.locator("#tab-photo").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#stage").is_hidden() and page.evaluate("document.activeElement.id") == "tab-camera"
    assert barriers(page) == []
    start(visit)
    assert page.evaluate("document.activeElement.id") == "live-stop"
    page.locator("#live-facts").filter(has_text=RATE).wait_for()
    page.click("#live-record")
    until(visit, "window.frames_painted > 2")
    visit.choose(variant="int8")  # A frame may be with the network that goes.
    page.locator("#live-facts").filter(has_text=RATE).wait_for()
    before = page.evaluate("window.frames_painted")
    until(visit, f"window.frames_painted > {before} + 1")
    page.set_viewport_size(dict(zip(("width", "height"), WIDTHS["phone"], strict=True)))
    assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS["phone"][0]
    assert barriers(page) == []
    page.screenshot(path=tmp_path / "phone.png")
    page.click("#live-stop")
    live(visit, "stopped")
    assert tracks(visit) == "ended"
    with page.expect_download() as download:
        page.click("#live-download")
    assert download.value.suggested_filename == "camera-translation.webm"
    with av.open(str(download.value.path())) as film:
        pictures = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert pictures[0].shape == (480, 640, 3) and pictures[0].std() > 5
    start(visit)
    visit.choose(variant="fp32")  # While it opens, a frame of the film that ends now stays with the worker.
    page.evaluate("for (const name of ['stop', 'start']) document.getElementById(`live-${name}`).click()")
    live(visit, "live")
    page.click("#tab-photo")
    assert tracks(visit) == "ended" and page.locator("#live").is_hidden()
    page.click("#tab-camera")
    hidden = "Object.defineProperty(document, 'hidden', { value: true })"
    for leave in ("dispatchEvent(new Event('pagehide'))", f"{hidden}.dispatchEvent(new Event('visibilitychange'))"):
        start(visit)
        page.evaluate(leave)
        live(visit, "stopped")
        assert tracks(visit) == "ended"
    assert visit.complaints == []


def test_a_still_scene_stays_still(visit: Visit, tmp_path: Path) -> None:
    film = write_film(tmp_path / "still.webm", [scene(96, 128)] * 20, codec="libvpx", sound=None)
    visit.page.add_init_script(WATCH)
    visit.arrive()
    visit.page.click("#tab-camera")
    visit.page.set_input_files("#live-file", film)
    live(visit, "stopped")
    changes = visit.page.evaluate("window.changes")
    assert len(changes) > 1 and max(changes) < 1
    assert visit.complaints == []


def test_what_is_no_camera_and_no_video_is_named(visit: Visit, tmp_path: Path) -> None:
    visit.page.add_init_script("delete window.MediaRecorder")
    visit.arrive()
    page, alert = visit.page, visit.page.locator("#alert")
    page.click("#tab-camera")
    for name, words in {
        "NotAllowedError": "The camera was refused.",
        "NotFoundError": "No camera was found.",
        "NotReadableError": "Close other programs that use it",
        "SecurityError": "The camera cannot be used (no).",
    }.items():
        page.evaluate(REFUSE, name)
        page.click("#live-start")
        alert.filter(has_text=words).wait_for()
        live(visit, "idle")
    page.evaluate("() => { navigator.mediaDevices.getUserMedia = undefined; }")
    page.click("#live-start")
    alert.filter(has_text="Open the page over https").wait_for()
    page.evaluate("() => { delete navigator.mediaDevices.getUserMedia; }")

    (tmp_path / "letter.mp4").write_text("dear diary")
    (tmp_path / "empty.webm").write_bytes(b"")
    with av.open(str(tmp_path / "tone.webm"), "w") as out:
        tone = out.add_stream("libopus", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.float32), format="flt", layout="mono")
        frame.sample_rate = 48_000
        out.mux([*tone.encode(frame), *tone.encode()])
    for name, words in {
        "letter.mp4": "cannot play this video",
        "empty.webm": "cannot play this video",
        "tone.webm": "has no pictures",
    }.items():
        page.set_input_files("#live-file", tmp_path / name)
        alert.filter(has_text=words).wait_for()
        live(visit, "idle")

    start(visit)
    assert page.locator("#live-record").is_hidden() and page.locator("#live-mute").is_visible()
    page.evaluate("document.querySelector('#live-video').srcObject.getTracks()[0].dispatchEvent(new Event('ended'))")
    alert.filter(has_text="The camera was disconnected.").wait_for()
    live(visit, "stopped")
    assert tracks(visit) == "ended"
    odd = write_film(tmp_path / "odd.webm", [scene(41, 63)], codec="libvpx", sound=None)
    page.set_input_files("#live-file", odd)
    until(visit, "document.querySelector('#live-canvas').width === 62")
    live(visit, "stopped")
    assert alert.is_hidden()
    page.click("#tab-photo")
    page.set_input_files("#file", photo(tmp_path / "photo.png"))
    visit.state("done")


def test_settings_come_from_the_address_and_go_there(visit: Visit, tmp_path: Path) -> None:
    visit.page.add_init_script(
        "navigator.canShare = ({ files }) => files.length === 1;"
        "navigator.share = async ({ files }) => { window.shared = [files[0].name, files[0].size]; };"
    )
    start = visit.address
    visit.address = f"{start}#seed=7&sampler=heun&steps=2&realism=0.5&spacing=none&guidance=-1&%3Cb%3E=1"
    visit.arrive()
    page = visit.page
    note = "settings that this model does not have: <b>=1, spacing=none, guidance=-1. They are left out."
    assert note in (page.locator("#note").text_content() or "")
    found = {name: page.input_value(f"#{name}") for name in ("seed", "sampler", "steps", "spacing")}
    assert found == {"seed": "7", "sampler": "heun", "steps": "2", "spacing": "trailing"}
    assert page.locator("#share").is_hidden()
    page.set_input_files("#file", photo(tmp_path / "photo.png"))
    visit.state("done")
    page.click("#share")
    until(visit, "window.shared?.[0] === 'photo-translation-7.png' && window.shared[1] > 100")
    page.fill("#seed", "8")
    page.keyboard.press("Tab")
    assert page.url == f"{start}#sampler=heun&steps=2&seed=8"
    page.evaluate("location.hash = 'seed=-1&steps=3'")
    page.locator("#note").filter(has_text="seed=-1").wait_for()
    assert (page.input_value("#seed"), page.input_value("#steps")) == ("8", "3")
