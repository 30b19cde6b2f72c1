"""The modules of docs/extending.md, written as a user would and loaded by the commands in processes of their own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export import to_onnx
from export.edge.errors import run
from jax_impl import bundle, sample, train
from jax_impl.data.synthetic import render_pair
from tests.pages import blocks
from tests.pages import commands as shell_commands

PAGE = "docs/extending.md"
MODULE = re.compile(r"^`(\w+\.py)`\n```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
TRAIN, EXPORT, TRANSLATE = (command.words[2:] for block in blocks(PAGE) for command in shell_commands(block))
"""The page's commands, without `python -m`."""
TRAINING = [
    *(*TRAIN, "--plugin", "my_layout", "--data.size", "16", "--data.repeats", "2", "--data.val-share", "0.25"),
    *("--train.epochs", "1", "--train.batch-size", "2", "--train.sample-steps", "2"),
]
RUN = "runs/mine"
JAX = ["--plugin", "my_preset"]
LAYOUT = ["--plugin", "my_layout"]
COMMANDS = """
import importlib, json, sys
for module, *words in json.load(sys.stdin):
    print("begun:", module)
    importlib.import_module(module).main(words)
"""
"""Several commands in one process, each of which would take seconds to import the same."""
PLUGINS = EXPORT[1 : EXPORT.index("model.safetensors")]


def modules(root: Path) -> dict[str, str]:
    """The code of the page's modules, by file name."""
    return dict(MODULE.findall((root / PAGE).read_text(encoding="utf-8")))


class Desk:
    """A folder with the page's modules and some pairs, in which commands are started."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder, self.said = folder, ""
        self.environment = {**os.environ, "PYTHONPATH": str(root)}
        for name, code in modules(root).items():
            (folder / name).write_text(code, encoding="utf-8")
        (folder / "photos").mkdir()
        for i in range(8):
            for hour, picture in zip(("am", "pm"), render_pair(i, 32), strict=True):
                Image.fromarray(picture).save(folder / "photos" / f"scene{i}x_{hour}.png")

    def start(self, *words: str) -> subprocess.Popen[str]:
        """A command in the background."""
        return subprocess.Popen(
            [sys.executable, "-m", *words], cwd=self.folder, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run_all(self, *commands: list[str]) -> str:
        """What commands print, one after the other in one process; each has to succeed."""
        done = subprocess.run(
            [sys.executable, "-c", COMMANDS], cwd=self.folder, env=self.environment, text=True,
            input=json.dumps(commands), capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def run(self, *words: str, status: int = 0) -> str:
        """What a command prints, which has to end with this status."""
        process = self.start(*words)
        out, err = process.communicate(timeout=300)
        assert process.returncode == status, out + err
        assert "Traceback" not in err
        return out + err


@pytest.fixture(scope="module")
def desk(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """With a trained run, which was stopped once in its first stage, and what every command made of it."""
    desk = Desk(tmp_path_factory.mktemp("desk"), root)
    # Long enough to be stopped; --resume then makes it short.
    stopped = desk.start(*TRAINING[:-6], "--train.epochs", "1000", *TRAINING[-4:])
    log = desk.folder / RUN / "metrics.jsonl"
    while stopped.poll() is None and not (log.exists() and log.stat().st_size):
        time.sleep(0.1)
    stopped.send_signal(signal.SIGTERM)
    out, err = stopped.communicate(timeout=300)
    assert stopped.returncode == 128 + signal.SIGTERM, out + err
    epochs = str(int(json.loads(log.read_text().splitlines()[-1])["epoch"]) + 1)
    Image.fromarray(render_pair(99, 16)[0]).save(desk.folder / "photo.png")
    scored = ("--data.path", "photos", "--data.val-share", "0.25", "--output-dir", "evaluation")
    desk.said = desk.run_all(
        ["jax_impl.train", *JAX, *LAYOUT, "--resume", "--output-dir", RUN, "--train.epochs", epochs],
        ["jax_impl.bundle", *JAX, "--run", RUN, "--output", "model.safetensors"],
        ["jax_impl.sample", *JAX, "--weights", "model.safetensors", "--input", "photo.png", "--output", "jax.png"],
        ["jax_impl.doctor", *LAYOUT, "photos"],
        ["jax_impl.evaluate", *JAX, *LAYOUT, "--run", RUN, *scored],
    )
    desk.said += desk.run_all(
        EXPORT,
        ["export.verify", *PLUGINS, "artifact"],
    )
    return desk


def test_the_page_has_a_module_for_every_kind(root: Path) -> None:
    networks = ("network", "torch_network", "codec", "torch_codec")
    kinds = ("loss", "process", *networks, "layout", "stage", "variant", "preset")
    assert set(modules(root)) == {f"my_{kind}.py" for kind in kinds}
    # About 20 lines of a user's code each; a process is five formulas.
    assert {name: lines for name, code in modules(root).items() if (lines := len(code.splitlines())) > 60} == {}


def test_both_stages_were_trained_with_both_losses(desk: Desk) -> None:
    records = [json.loads(line) for line in (desk.folder / RUN / "metrics.jsonl").read_text().splitlines()]
    assert {record.get("stage") for record in records} == {None, 1}
    assert all({"mse", "mae", "edges", "edges_error"} <= record.keys() for record in records if "loss" in record)
    rates = {record.get("stage"): record["learning_rate"] for record in records if "learning_rate" in record}
    assert rates == {None: pytest.approx(1e-4), 1: pytest.approx(1e-5)}


def test_jax_the_device_and_both_variants_make_the_same_picture(desk: Desk) -> None:
    photo = desk.folder / "photo.png"
    desk.run("export.edge", "artifact", "photo.png", "edge.png")
    desk.run("export.edge", "artifact", "photo.png", "rounded.png", "--variant", "rounded")
    Image.open(photo).save(desk.folder / "photo.jpg")
    desk.run(*TRANSLATE)
    assert (desk.folder / "sunset.jpg").exists()
    jax, edge, rounded = (
        np.asarray(Image.open(desk.folder / f"{name}.png"), int) for name in ("jax", "edge", "rounded")
    )
    assert np.abs(jax - edge).max() <= 1
    assert np.abs(edge - rounded).max() <= 8
    assert np.abs(edge - np.asarray(Image.open(photo), int)).max() > 0


def test_the_other_commands_work_with_it(desk: Desk) -> None:
    assert "rounded" in desk.run("export.edge", "info", "artifact")
    verified = desk.said.partition("begun: export.verify")[2]
    assert all(name in verified for name in ("model_rounded.onnx", "codec: largest", "sampler.onnx: largest"))
    desk.run("export.web", "--artifact", "artifact", "--output", "site")
    assert any((desk.folder / "site").glob("app-*/onnx/codec_decode.onnx"))
    assert "am-pm" in desk.said.partition("begun: jax_impl.doctor")[2].partition("begun: ")[0]
    assert (desk.folder / "evaluation" / "contact_sheet.png").exists()


def test_a_number_of_steps_without_a_table_is_refused(desk: Desk) -> None:
    said = desk.run("export.edge", "artifact", "photos/scene0x_am.png", "x.png", "--steps", "7", status=2)
    assert re.fullmatch(r"error: .*\b7\b.*\b1, 2, 4, 10, 20.*\n", said), said


@pytest.mark.parametrize(
    ("main", "words", "said"),
    [
        (bundle.main, ["--run", RUN, "--output", "other.safetensors"], r"with --plugin my_network"),
        (train.main, ["--resume", "--output-dir", RUN], r"with --plugin my_network"),
        (
            sample.main,
            ["--weights", "model.safetensors", "--input", "x.png", "--output", "y.png"],
            r"with --plugin my_network",
        ),
        (to_onnx.main, ["model.safetensors", "--output", "other"], r"'small'.*with --plugin my_network"),
    ],
    ids=["bundle", "resume", "sample", "export"],
)
def test_a_command_without_the_module_names_it(
    desk: Desk, main: Callable[[list[str]], None], words: list[str], said: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """This process has loaded none of the modules."""
    Image.new("RGB", (16, 16)).save(desk.folder / "x.png")
    monkeypatch.chdir(desk.folder)
    with pytest.raises(SystemExit) as ended:
        run(lambda: main(words))
    found = "".join(capsys.readouterr())
    assert ended.value.code == 2
    assert re.search(said, found) and found.count("\n") == 1, found
    assert not any((desk.folder / name).exists() for name in ("other.safetensors", "other", "y.png"))
