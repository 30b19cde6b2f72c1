"""Entries that a user's own module adds, and what is said where it was not loaded."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from export.edge import plugins
from export.edge.errors import UserError
from export.edge.registry import Registry

SHAPES: Registry[type] = Registry("shape")
SHAPES.add("round", float)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, whose modules are forgotten after the test."""
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_plugin_in_the_current_folder_adds_its_entry(here: Path) -> None:
    (here / "own_shapes.py").write_text(f"from {__name__} import SHAPES\nSHAPES.add('square', int)\n")
    rest = plugins.take(["a", "--plugin", "own_shapes", "--b=c"], "export")
    assert rest == ["a", "--b=c"]
    assert SHAPES.find("square", "--shape") is int
    assert (SHAPES.plugin_of("square"), SHAPES.plugin_of("round")) == ("own_shapes", None)
    assert str(here) not in sys.path


def test_two_entries_of_one_name_are_refused() -> None:
    registry: Registry[int] = Registry("number")
    registry.add("one", 1)
    with pytest.raises(UserError, match="number 'one' is registered twice"):
        registry.add("one", 2)
    assert registry["one"] == 1


def test_an_unknown_name_is_told_with_the_choices_or_the_plugin() -> None:
    with pytest.raises(UserError, match=r"config\.shape is 'oval': choose one of round"):
        SHAPES.find("oval", "config.shape")
    with pytest.raises(UserError, match=r"config\.shape is 'oval': load its shape with --plugin my\.shapes"):
        SHAPES.find("oval", "config.shape", plugin="my.shapes")
    with pytest.raises(UserError, match="is None"):
        SHAPES.find(None, "config.shape")


@pytest.mark.parametrize("words", [["--plugin"], ["--plugin", "a-b"], ["--plugin=1x"], ["--plugin", "a..b"]])
def test_a_plugin_without_a_module_name_is_refused(words: list[str]) -> None:
    with pytest.raises(UserError, match="give the dotted name of a module"):
        plugins.take(words, "jax")


@pytest.mark.parametrize("code", ["import nothing_of_that_name", "1 / 0", "this is no Python"])
def test_a_plugin_that_cannot_be_imported_is_one_line(here: Path, code: str) -> None:
    (here / "broken_plugin.py").write_text(code)
    with pytest.raises(UserError, match=r"plugin broken_plugin cannot be imported"):
        plugins.take(["--plugin", "broken_plugin"], "torch")


def test_entry_points_of_the_group_are_loaded(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for group in ("jax", "torch", "export"):
        (here / f"for_{group}.py").write_text("")
    folder = here / "own-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1.0\n")
    groups = "".join(f"[dawn2dusk.{group}]\na = for_{group}\n" for group in ("jax", "torch", "export"))
    (folder / "entry_points.txt").write_text(groups)
    monkeypatch.syspath_prepend(here)
    assert plugins.take([], "export") == []
    assert {"for_torch", "for_export"} <= set(sys.modules)
    assert "for_jax" not in sys.modules


@pytest.mark.parametrize("name", ["Own-1.0-py3.11.egg", "own.EGG"])
def test_entry_points_of_an_egg_are_loaded(name: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = f"in_{name[:3]}_egg"
    about = here / name / "EGG-INFO"
    about.mkdir(parents=True)
    (here / name / f"{module}.py").write_text("")
    (about / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[dawn2dusk.edge]\na = {module}\n")
    monkeypatch.syspath_prepend(here / name)
    assert plugins.take(["photo.png"], "edge") == ["photo.png"]
    assert module in sys.modules


def test_entry_points_in_a_zip_file_are_loaded(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "zipped_module.py").write_text("")
    with zipfile.ZipFile(here / "own.zip", "w") as file:
        file.writestr("own-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: own\nVersion: 1.0\n")
        file.writestr("own-1.0.dist-info/entry_points.txt", "[dawn2dusk.edge]\na = zipped_module\n")
    monkeypatch.syspath_prepend(here / "own.zip")
    assert plugins.take(["photo.png"], "edge") == ["photo.png"]
    assert "zipped_module" in sys.modules
