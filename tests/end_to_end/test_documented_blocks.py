"""Every command and every Python example of the README, the pages and the notebook runs, in order, at toy size.

tests/toy.py says what is made small. What the pages name is there before the first command: pairs in photos/A and
photos/B, a photo, runs, a bundle, an artifact. A block that is not run says why (tests/test_documented_commands.py
lists them). All else has to end well, and leave the files that it is asked to write.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import shutil
import subprocess
import sys
import threading
import traceback
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from export import bench
from export.edge import commands as edge_commands
from export.edge.errors import UserError
from export.web import __main__ as page_command
from export.web import runtime, scenes
from jax_impl.config.presets import PRESETS
from jax_impl.data.synthetic import render_pair
from tests import toy
from tests.export.films import write_film
from tests.pages import PYTHON, ROOT, RUN_ELSEWHERE, Block, Command, blocks, commands, notebooks, pages
from tests.torch_ref.original_network import trained

PAIRS, SIDE = 20, 24
"""Pairs, as many as those of docs/api.md, for equal shapes; and their side, not that of training, pixels."""
PREPARED = [
    ["jax_impl.train", "seed", "--data.path", "photos", "--output-dir", "runs/seed"],
    ["jax_impl.train", "tiny", "--data.path", "photos", "--output-dir", "runs/mine"],
    ["jax_impl.bundle", "--run", "runs/mine", "--output", "model.safetensors"],
    ["export.to_onnx", "runs/mine", "--output", "artifact"],
    [
        "jax_impl.evaluate",
        "--artifact",
        "artifact/onnx/model.onnx",
        "--data.path",
        "photos",
        "--output-dir",
        "evaluation",
    ],
]
"""Commands that make what other pages have made."""
WRITTEN = ("--output", "--output-dir", "--align")
"""Flags whose value is a file or a folder that a command writes."""


@pytest.fixture(scope="module")
def small() -> Iterator[None]:
    """Presets and photos are small, a page is built without a network."""
    with pytest.MonkeyPatch.context() as patch:
        toy.narrow_presets(lambda name, preset: patch.setitem(PRESETS._entries, name, preset))  # type: ignore[attr-defined]
        patch.setattr(bench, "LARGE", (120, 90))
        patch.setattr(runtime, "read_runtime", lambda _: {name: name.encode() for name in runtime.FILES})
        patch.setattr(scenes, "paint_scene", functools.cache(scenes.paint_scene))
        patch.setattr(edge_commands, "run_apart", run_here)
        patch.setattr(page_command, "make_server", answering_once(page_command.make_server))
        yield


def run_here(name: str, words: Sequence[str]) -> str:
    """What a command prints that else would run in a process of its own."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        toy.run([edge_commands.find_command(name).module, *words])
    return said.getvalue()


def answering_once(make: Callable[..., Any]) -> Callable[..., Any]:
    """A server that ends when it has answered one request for its page, which it gets at once."""

    def made(*words: Any) -> Any:
        server = make(*words)

        def serve_forever() -> None:
            threading.Thread(target=server.handle_request).start()
            with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/", timeout=60) as answer:
                assert b"<html" in answer.read()

        server.serve_forever = serve_forever
        return server

    return made


@pytest.fixture(scope="module")
def home(small: None, once: Callable[..., Path]) -> Path:
    """A folder with everything that the pages name; nobody may change it."""

    def fill(folder: Path) -> None:
        for i in range(PAIRS):
            sides = render_pair(i, SIDE)
            for side, picture in zip("AB", sides, strict=True):
                (folder / "photos" / side).mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture).save(folder / "photos" / side / f"{i:02d}.png")
            (folder / "facades").mkdir(exist_ok=True)
            Image.fromarray(np.concatenate(sides[::-1], axis=1)).save(folder / "facades" / f"{i:02d}.png")
        shutil.copytree(folder / "photos/B", folder / "generated")
        Image.fromarray(render_pair(99, 40)[0][:32]).save(folder / "photo.jpg")
        write_film(folder / "walk.mp4", [render_pair(99, 48)[0]] * 2)
        torch.save(trained(4, steps=1).checkpoint(), folder / "original.pth")
        with contextlib.chdir(folder):
            for words in PREPARED:
                toy.run(words)
            changed = onnx.load("artifact/onnx/model.onnx")
            changed.producer_name = "a simplifier"
            onnx.save(changed, "simplified.onnx")

    return once("documented", fill)


@pytest.mark.parametrize(
    "page", [*(page for page in pages() if page not in RUN_ELSEWHERE and blocks(page)), *notebooks()]
)
def test_what_a_page_says_runs(page: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = shutil.copytree(home, tmp_path / "here")
    monkeypatch.chdir(here)
    names: dict[str, Any] = {"__name__": "__main__"}
    failed = []
    for block in blocks(page):
        if block.reason:
            continue
        if block.language == "python":
            failed += faults(f"{page}:{block.line}", lambda block=block: run_code(block, names))
        for command in commands(block):
            failed += faults(str(command), lambda command=command: run_command(command))
    assert not failed, "\n\n".join(failed)


def faults(place: str, run: Callable[[], None]) -> list[str]:
    """What went wrong, with the place; nothing where all is well."""
    try:
        run()
    except UserError as error:
        return [f"{place}\nerror: {error}"]
    except (Exception, SystemExit) as error:
        # As after --help.
        return [] if isinstance(error, SystemExit) and not error.code else [f"{place}\n{traceback.format_exc()}"]
    return []


def run_code(block: Block, names: dict[str, Any]) -> None:
    """Run an example; those of a page share their names, as in a notebook, and `fit` finds a new output folder."""
    for folder in re.findall(r'output_dir="([^"]+)"', block.text):
        shutil.rmtree(folder, ignore_errors=True)
    # Errors show the line of the page.
    exec(compile("\n" * (block.line - 1) + toy.shortened_code(block.text), block.page, "exec"), names)


def run_command(command: Command) -> None:
    """Run a command, in a new output folder where it trains, and look for what it has to write."""
    first, flag, *words = command.words
    assert first in PYTHON and flag == "-m", "mark the block as not run here"
    written = [Path(value) for name, value in pairwise(words) if name in WRITTEN]
    if words[0] == "jax_impl.train" and "--resume" not in words:
        for folder in written:
            shutil.rmtree(folder, ignore_errors=True)
    if command.settings:
        environment = {**os.environ, **command.settings, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-m", "tests.toy", *words], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    else:
        toy.run(words)
    missing = [str(path) for path in written if "--dry-run" not in words and not path.exists()]
    assert not missing, f"not written: {missing}"


def test_what_fails_is_named_with_its_page_and_line(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "# A comment.\npython -m export.edge \\\n    artifact nothing.jpg sunset.jpg\n"
    (command,) = commands(Block("docs/page.md", 7, "", "sh", text))
    (said,) = faults(str(command), lambda: run_command(command))
    assert said.startswith("docs/page.md:8: python -m export.edge artifact nothing.jpg sunset.jpg\nerror: ")
    block = Block("docs/page.md", 3, "", "python", "pass\n1 / 0\n")
    (said,) = faults("docs/page.md:3", lambda: run_code(block, {}))
    assert '"docs/page.md", line 4' in said and "ZeroDivisionError" in said
