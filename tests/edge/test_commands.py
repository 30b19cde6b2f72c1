"""`dawn2dusk`: every command by its name, in the interpreter that was asked, and one line for a mistake."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from export.edge import commands
from export.edge.errors import UserError
from export.edge.version import __version__
from tests.reference import modules


def call(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "export.edge.commands", *words]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def test_the_table_has_every_command_for_users() -> None:
    there = {name.removesuffix(".__main__") for name in modules()}
    listed = {command.module for command in commands.COMMANDS.values()}
    assert listed <= there
    # Parts of others, the dispatcher itself, and tools for weights of metrics.
    assert there - listed == {"export.edge.commands", "export.edge.info", "torch_ref.perceptual"}


def test_alone_it_lists_them_in_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    commands.main([])
    lines = capsys.readouterr().out.splitlines()
    for name, command in commands.COMMANDS.items():
        assert [line.split(None, 1) for line in lines if line.strip().startswith(f"{name} ")] == [[name, command.does]]


def test_words_reach_the_command_and_its_exit_status_comes_back(root: Path, tmp_path: Path) -> None:
    done = call(root, "edge", str(tmp_path / "none.onnx"), "photo.jpg", "sunset.jpg", "--steps", "3")
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    done = call(root, "edge", "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"dawn2dusk {__version__}\n", "")


@pytest.mark.parametrize(
    ("word", "said"), [("trian", "did you mean train?"), ("evalute", "did you mean evaluate?"), ("zz", "choose one of")]
)
def test_a_misspelt_command_gives_the_nearest(word: str, said: str, root: Path) -> None:
    done = call(root, word)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"error: dawn2dusk {word} is not a command: {said}") and done.stderr.count("\n") == 1


def test_a_command_that_lacks_a_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands.importlib.util, "find_spec", lambda name: None if name == "onnx" else name)
    with pytest.raises(UserError, match=r"export needs onnx, not installed here; install .* its extra export"):
        commands.find_command("export")


def test_a_process_of_its_own_gives_its_words_or_its_error(tmp_path: Path) -> None:
    assert commands.run_apart("edge", ["--version"]) == f"dawn2dusk {__version__}\n"
    with pytest.raises(UserError, match=r"^edge failed: photo \S+none\.jpg does not exist; check the path$"):
        commands.run_apart("edge", ["model.onnx", str(tmp_path / "none.jpg"), str(tmp_path / "out.png")])
