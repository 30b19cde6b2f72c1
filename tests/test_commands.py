"""Every flag of every command has a help text that stands alone, and every command says its version."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from export.edge import version
from jax_impl.config.presets import PRESETS
from tests.reference import modules, page, parsers
from tests.test_english import FOR_USERS, PHRASES

PRONOUN = re.compile(
    r"(how many they|neighbouring|its?|the[iy]r?|them|these|those|this|that|such|whose|what of|of|for|or)\b",
    re.IGNORECASE,
)  # fmt: skip
"""What a help text that leans on another flag's begins with."""
USED = (*PHRASES, *FOR_USERS)
ASIDE = re.compile(r"\s*\((default: .*|required|optional)\)$", re.DOTALL)
"""What the parser appends."""


COMMANDS = modules()


@pytest.mark.parametrize("command", [*COMMANDS, *(f"jax_impl.train {name}" for name in PRESETS)])
def test_every_help_text_stands_alone(command: str) -> None:
    wrong, listed = [], parsers(*command.split())
    for action in (action for parser in listed for action in parser._actions):
        if isinstance(action.choices, dict) or action.dest in ("help", "version"):
            continue
        name, text = "/".join(action.option_strings) or action.dest, ASIDE.sub("", action.help or "").strip()
        if not text or PRONOUN.match(text) or any(re.search(rf"\b{p}\b", text, re.IGNORECASE) for p in USED):
            wrong.append(f"{name}: {text!r}")
    assert not wrong, "\n".join(sorted(set(wrong)))
    assert sum(len(parser._actions) for parser in listed) > 2


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


def test_the_page_of_commands_is_up_to_date(root: Path) -> None:
    made = page([name for name in PRESETS if name != "seed"])
    assert (root / "docs/reference.md").read_text() == made, "run `python -m tests.reference docs/reference.md`"
