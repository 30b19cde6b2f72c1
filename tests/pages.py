"""The documentation as tests read it: pages, their fenced blocks, and the commands in these."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"(?:<!-- not run here: ([^>]*) -->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PYTHON = ("python", ".venv/bin/python")
"""What a command of the project begins with, besides make."""
RUN_ELSEWHERE = ("docs/extending.md",)
"""Pages whose code needs modules of their own: tests/end_to_end/test_extending.py runs it."""


class Block(NamedTuple):
    """A fenced block of a page: where it stands, why it is not run here (or ""), its language and its text."""

    page: str
    line: int
    """Of its first line of text."""
    reason: str
    language: str
    text: str


class Command(NamedTuple):
    """A command of a block: its place, the settings of the environment before it, and its words."""

    page: str
    line: int
    settings: dict[str, str]
    words: list[str]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {shlex.join(self.words)}"


def pages() -> list[str]:
    """The README and all pages, by their paths."""
    return ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))]


def notebooks() -> list[str]:
    """The notebooks of the site, by their paths."""
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.ipynb"))


def blocks(page: str) -> list[Block]:
    """All fenced blocks of a page, or the cells with code of a notebook, whose number then is the line."""
    text = (ROOT / page).read_text(encoding="utf-8")
    if page.endswith(".ipynb"):
        cells = [(n, cell) for n, cell in enumerate(json.loads(text)["cells"], 1) if cell["cell_type"] == "code"]
        return [Block(page, n, "", "python", "".join(cell["source"])) for n, cell in cells]
    return [Block(page, text.count("\n", 0, m.start(3)) + 1, m[1] or "", m[2], m[3]) for m in BLOCK.finditer(text)]


def commands(block: Block) -> Iterator[Command]:
    """The commands of a block, continued lines joined, without comments."""
    if block.language != "sh":
        return
    rest, begun = "", block.line
    for number, line in enumerate(block.text.splitlines(), block.line):
        begun = begun if rest else number
        rest += line + "\n"
        if line.endswith("\\") or rest.count("'") % 2:  # A command, or a quoted word, that goes on.
            continue
        words, rest, settings = shlex.split(rest.replace("\\\n", " "), comments=True), "", {}
        while words and re.match(r"[A-Z_]+=", words[0]):
            name, _, settings[name] = words.pop(0).partition("=")
        if words:
            yield Command(block.page, begun, settings, words)


def module_of(name: str) -> str:
    """The module with a command's `main`: that of a package is its `__main__`."""
    if (ROOT / name.replace(".", "/") / "__main__.py").exists():
        return "jax_impl.bench.training" if name == "jax_impl.bench" else f"{name}.__main__"
    assert (ROOT / f"{name.replace('.', '/')}.py").exists(), f"python -m {name}: there is no such module"
    return name
