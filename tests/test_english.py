"""Plain technical English, as far as letters show it: phrases that a reader has to read twice are not used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PHRASES = (
    r"anew", r"stand(s|ing)? in\b(?! (a row|the way))", r"stood in for", r"is believed", r"(is|are|was|were) told",
    r"held to", r"bears?\b.{0,40}\bbadly", r"bears? it", r"wants? (a|an|to)", r"ow(ed|es)", r"but for",
    r"in silence", r"the law", r"import law", r"the story",
)  # fmt: skip
"""Regular expressions, without regard to case."""
PLACES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile", ".ci/run", "pyproject.toml", "docs", *(
    "jax_impl", "torch_ref", "export",
))  # fmt: skip
SUFFIXES = {".md", ".py", ".js", ".mjs", ".html", ".css", ".toml", ".yml", ""}
_FOUND = re.compile(rf"\b({'|'.join(PHRASES)})\b", re.IGNORECASE)


def files(root: Path, place: str) -> list[Path]:
    """The texts at a place: documentation, help, messages and comments of the product."""
    path = root / place
    return [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file() and p.suffix in SUFFIXES)


@pytest.mark.parametrize("place", PLACES)
def test_no_phrase_that_has_a_usual_word(root: Path, place: str) -> None:
    found = []
    for path in files(root, place):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found += [f"{path.relative_to(root)}:{number}: {m[0]}: {line.strip()[:110]}" for m in _FOUND.finditer(line)]
    assert not found, "use the usual word:\n" + "\n".join(found)


@pytest.mark.parametrize("line", ["compute it anew", "is believed", "a network Stands in for it", "wants a GPU"])
def test_the_check_sees_them(line: str) -> None:
    assert _FOUND.search(line)
