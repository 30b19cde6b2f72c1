"""Plain technical English, as far as letters show it: phrases that a reader has to read twice are not used."""

from __future__ import annotations

import re
from collections.abc import Iterator
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
FOR_USERS = (r"beside", r"bears?", r"wants?", r"told", r"draw(s|n|ing)?", r"drew")
"""Further ones, for the README, the pages and the help texts: samples are made, not drawn."""
GENERATED = ("accelerators.md", "messages.md", "reference.md")
"""Pages that programs write."""
MOST_WORDS = 30
"""In a sentence of the README and the pages; tables, lists of flags and code have no sentences."""
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


def user_pages(root: Path) -> list[Path]:
    """The README and the pages that people write."""
    return [root / "README.md", *sorted(p for p in (root / "docs").glob("*.md") if p.name not in GENERATED)]


def without_code(text: str) -> str:
    """A page's text: blocks of code and comments left out, code in a line as one word, links as their text."""
    text = re.sub(r"^```.*?^```$|<!--.*?-->|^    .*?$", "\n", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", re.sub(r"`[^`]*`", "code", text))


def sentences(text: str) -> Iterator[str]:
    """The sentences of a page; a colon ends one, as a full stop does, and tables and headings have none."""
    block: list[str] = []
    for line in [*without_code(text).splitlines(), ""]:
        words = line.strip()
        begins = re.match(r"([-*]|\d+\.)\s", words)
        if not words or begins or words.startswith(("|", "#", ":::")):
            yield from re.split(r"(?<=[.!?:])[*_)\"]*\s+", " ".join(block))
            block = []
        if words and not words.startswith(("|", "#", ":::")):
            block.append(words)


def length(sentence: str) -> int:
    """Words of a sentence; signs alone are none."""
    return sum(bool(re.search(r"\w", word)) for word in sentence.split())


def test_sentences_are_short(root: Path) -> None:
    long = [
        f"{page.name}: {length(sentence)} words: {sentence}"
        for page in user_pages(root)
        for sentence in sentences(page.read_text(encoding="utf-8"))
        if length(sentence) > MOST_WORDS
    ]
    assert not long, "\n".join(long)


def test_pages_use_the_usual_words(root: Path) -> None:
    found = re.compile(rf"\b({'|'.join(FOR_USERS)})\b", re.IGNORECASE)
    wrong = [
        f"{page.name}: {m[0]}: {text[max(0, m.start() - 40) : m.end() + 40]!r}"
        for page in user_pages(root)
        for text in [without_code(page.read_text(encoding="utf-8"))]
        for m in found.finditer(text)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_readme_is_one_page(root: Path) -> None:
    text = (root / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert len(text.split()) <= 1500


def test_sentences_are_counted() -> None:
    text = f"# A heading\n{'word ' * 31}end.\n\n| {'cell ' * 40}|\n\n```\n{'code ' * 40}\n```\n\n- one: two\n"
    assert [length(sentence) for sentence in sentences(text) if sentence] == [32, 1, 1]
