"""The wheel: what it holds, what it leaves out, what it asks for, and that its commands exist."""

from __future__ import annotations

import ast
import configparser
import tomllib
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

PACKAGES = ("export", "jax_impl", "torch_ref")


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return message_from_bytes(archive.read(name))


@pytest.fixture(scope="module")
def requirements(metadata: Message) -> list[Requirement]:
    return [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]


def test_holds_every_file_of_the_packages(root: Path, names: set[str]) -> None:
    sources = {str(p.relative_to(root)) for package in PACKAGES for p in (root / package).rglob("*.py")}
    assert {"export/edge/__main__.py", "jax_impl/config/tree.py", "torch_ref/__init__.py"} <= sources
    sources |= {str(p.relative_to(root)) for p in (root / "export/web/static").rglob("*") if p.is_file()}
    assert {"export/web/static/index.html", "export/web/static/app/sampler.js"} <= sources
    assert sources - names == set()


def test_holds_nothing_else(names: set[str]) -> None:
    roots = {name.split("/")[0] for name in names}
    assert roots - set(PACKAGES) == {r for r in roots if r.endswith(".dist-info")}
    assert not [n for n in names if "tests" in Path(n).parts or "__pycache__" in n]
    assert not [n for n in names if n.startswith("export/clients/")]  # Programs to copy.


def test_names_license_and_python(metadata: Message, names: set[str]) -> None:
    assert metadata["Name"] == "dawn2dusk"
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"
    assert [n for n in names if n.endswith("licenses/LICENSE")]


def test_base_needs_numpy_and_pillow_alone(requirements: list[Requirement]) -> None:
    assert {r.name for r in requirements if r.marker is None} == {"numpy", "pillow"}


def test_extras(metadata: Message, requirements: list[Requirement]) -> None:
    extras = {"jax", "cuda", "tpu", "torch", "export", "edge", "heic", "video", "wandb", "dev", "docs", "all"}
    assert set(metadata.get_all("Provides-Extra", [])) == extras

    def asked(extra: str) -> set[str]:
        found = [r for r in requirements if r.marker is not None and r.marker.evaluate({"extra": extra})]
        own = {e for r in found if r.name == "dawn2dusk" for e in r.extras}
        return {r.name for r in found if r.name != "dawn2dusk"}.union(*map(asked, own))

    assert asked("edge") == {"onnxruntime"}
    assert asked("heic") == {"pillow-heif"}
    assert asked("video") == {"av", "onnxruntime"}
    assert "torch" not in asked("jax")
    assert "jax" not in asked("export") | asked("torch")
    assert asked("all") == asked("jax") | asked("torch") | asked("export") | asked("edge")


def test_every_requirement_is_pinned_within_its_bounds(root: Path, requirements: list[Requirement]) -> None:
    pins = {}
    for line in (root / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, version = line.split("==")
            pins[name] = Version(version)
    assert pins["torch"] == Version("2.13.0")
    for requirement in requirements:
        name = requirement.name.lower().replace("_", "-")
        if name != "dawn2dusk":
            assert pins[name] in requirement.specifier, requirement


def test_every_command_has_its_function(root: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/entry_points.txt"))
        parser = configparser.ConfigParser()
        parser.read_string(archive.read(name).decode())
    commands = dict(parser["console_scripts"])
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert commands == project["scripts"]
    for command, target in commands.items():
        module, function = target.split(":")
        source = (root / module.replace(".", "/")).with_suffix(".py")
        assert source.is_file(), f"{command}: {source} does not exist"
        defined = {node.name for node in ast.parse(source.read_text()).body if isinstance(node, ast.FunctionDef)}
        assert {function, "main"} <= defined, f"{command}: {source} lacks {function} or main"
