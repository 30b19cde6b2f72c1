"""Every flag of every command has a help text that stands alone, and every command says its version."""

from __future__ import annotations

import argparse
import ast
import importlib
import re
from pathlib import Path
from typing import Any, NoReturn

import pytest

from export.edge import version
from jax_impl.config.presets import PRESETS
from tests.test_english import PHRASES

PRONOUN = re.compile(
    r"(how many they|neighbouring|its?|the[iy]r?|them|these|those|this|that|such|whose|what of|of|for|or)\b",
    re.IGNORECASE,
)  # fmt: skip
"""What a help text that leans on another flag's begins with."""
ASIDE = re.compile(r"\s*\((default: .*|required|optional)\)$", re.DOTALL)
"""What the parser appends."""


def modules(root: Path) -> list[str]:
    """The modules of the packages that are commands: those with a function `cli`, and `export.edge info`."""
    found = ["export.edge.info"]
    for path in (path for package in ("jax_impl", "torch_ref", "export") for path in (root / package).rglob("*.py")):
        if any(isinstance(node, ast.FunctionDef) and node.name == "cli" for node in ast.parse(path.read_text()).body):
            found.append(".".join(path.relative_to(root).with_suffix("").parts))
    return sorted(found)


COMMANDS = modules(Path(__file__).resolve().parents[1])


class FoundError(Exception):
    """Ends a command where it would read its words, with its parser."""


@pytest.fixture
def parsers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[argparse.ArgumentParser]:
    """The parser of a command, the first of the words, and those of its subcommands."""

    def stop(parser: argparse.ArgumentParser, *_: Any, **__: Any) -> NoReturn:
        raise FoundError(parser)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", stop)
    name, *words = request.param.split()
    with pytest.raises(FoundError) as found:
        importlib.import_module(name).main(words)
    todo, listed = [found.value.args[0]], []
    while todo:
        listed.append(todo.pop())
        todo += [
            sub for action in listed[-1]._actions if isinstance(action.choices, dict) for sub in action.choices.values()
        ]
    return listed


@pytest.mark.parametrize("parsers", [*COMMANDS, *(f"jax_impl.train {name}" for name in PRESETS)], indirect=True)
def test_every_help_text_stands_alone(parsers: list[argparse.ArgumentParser]) -> None:
    wrong = []
    for action in (action for parser in parsers for action in parser._actions):
        if isinstance(action.choices, dict) or action.dest in ("help", "version"):
            continue
        name, text = "/".join(action.option_strings) or action.dest, ASIDE.sub("", action.help or "").strip()
        if not text or PRONOUN.match(text) or any(re.search(rf"\b{p}\b", text, re.IGNORECASE) for p in PHRASES):
            wrong.append(f"{name}: {text!r}")
    assert not wrong, "\n".join(sorted(set(wrong)))
    assert sum(len(parser._actions) for parser in parsers) > 2


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_its_version(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leave:
        importlib.import_module(name).main(["--version"])
    assert leave.value.code == 0
    assert capsys.readouterr().out == f"dawn2dusk {version.__version__}\n"


def test_the_version_is_said_once(root: Path) -> None:
    said = version.__version__
    for package in ("export", "jax_impl", "torch_ref"):
        assert importlib.import_module(package).__version__ == said
    assert f"\nversion: {said}\n" in (root / "CITATION.cff").read_text()
    assert re.search(
        rf"^## \[{re.escape(said)}\] - \d{{4}}-\d\d-\d\d$", (root / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert 'dynamic = ["version"]' in (root / "pyproject.toml").read_text()
