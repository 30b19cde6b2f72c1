"""Every command in the README and on the pages exists and takes its flags; what their code imports exists."""

from __future__ import annotations

import argparse
import ast
import importlib
import re
import shlex
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from jax_impl.config import arguments
from jax_impl.config import command as command_line
from jax_impl.config.presets import PRESETS
from tests.pages import BLOCK, PYTHON, ROOT, RUN_ELSEWHERE, blocks, commands, module_of, pages
from tests.reference import parsers

NOT_RUN = {
    "README.md": ["installs packages, and trains for minutes", "installs everything"],
    "docs/deploying.md": [
        "a simplifier of another project writes the file",
        "builds a wheel and installs it on another machine",
    ],
    "docs/figures-of-merit.md": ["someone has to look at the sheets"],
    "docs/figures.md": ["settings of the shell for a measurement"],
    "docs/perceptual.md": ["needs weights that are downloaded by hand"] * 2,
    "docs/training.md": ["needs CUDA or a TPU", "needs a cluster"],
    "docs/tutorial.md": ["installs everything"],
}
"""Blocks that no test runs, by page: the reasons that stand above them."""
OF_TESTS = ("docs/figures.md", "docs/accelerators.md", "docs/reference.md")
"""Pages that name flags of the programs that measure, which docs/reference.md does not have, and that page itself."""
SPAN = re.compile(r"`((?:\.venv/bin/)?python -m (?:jax_impl|torch_ref|export|tests)[^`]*)`")


class ParsedError(Exception):
    """Ends a command when its words have been read without a mistake."""


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that end with ParsedError once their words are read, and do not look for a run's or a bundle's files."""
    make = command_line._made

    def ending(read_words: Callable[..., object]) -> Callable[..., NoReturn]:
        def parse(parser: argparse.ArgumentParser, *words: Any, **options: Any) -> NoReturn:
            read_words(parser, *words, **options)
            raise ParsedError

        return parse

    def made(kind: type, default: object, given: Any, prefix: str = "") -> Any:
        settings = make(kind, default, given, prefix)
        if not prefix:
            raise ParsedError
        return settings

    for name in ("parse_args", "parse_intermixed_args"):
        monkeypatch.setattr(argparse.ArgumentParser, name, ending(getattr(argparse.ArgumentParser, name)))
    monkeypatch.setattr(command_line, "_made", made)
    monkeypatch.setattr(arguments, "read_config", lambda _: PRESETS["seed"]())
    monkeypatch.setattr(arguments, "read_plugins", lambda _: ())
    monkeypatch.setattr(arguments, "_continuing", lambda config, _: config)


def targets() -> set[str]:
    """What make makes."""
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def variables() -> set[str]:
    """What a user may set on the command line of make."""
    return set(re.findall(r"^([A-Z_]+) \?=", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.usefixtures("stopped")
@pytest.mark.parametrize("page", [page for page in pages() if page not in RUN_ELSEWHERE])
def test_every_command_of_a_block_takes_its_flags(page: str) -> None:
    for block in blocks(page):
        for command in commands(block):
            if not block.reason or is_ours(command.words):
                check(command.words)


def is_ours(words: list[str]) -> bool:
    """Whether a command belongs to the project: these are read even where they are not run."""
    return words[0] == "make" or (words[0] in PYTHON and (ROOT / words[2].partition(".")[0]).is_dir())


def check(words: list[str]) -> None:
    """Read a command line by the parser of the command."""
    first, *others = words
    if first == "make":
        made = {word for word in others if "=" not in word}
        assert made <= targets() and {word.partition("=")[0] for word in others if "=" in word} <= variables(), words
        return
    assert first in PYTHON, f"mark the block as not run here: {words}"
    assert others[0] == "-m", words
    if others[-1] in ("--help", "--version"):
        others.pop()
    with pytest.raises(ParsedError):
        importlib.import_module(module_of(others[1])).main(others[2:])


@pytest.mark.parametrize("page", pages())
def test_every_command_in_the_text_has_its_flags(page: str) -> None:
    text = BLOCK.sub("", (ROOT / page).read_text(encoding="utf-8"))
    for span in SPAN.findall(text):
        _, _, name, *words = shlex.split(" ".join(span.split()))
        module = module_of(name)
        flags = [word.partition("=")[0] for word in words if re.match(r"--[a-z]", word)]
        if flags:
            preset = words[:1] if module == "jax_impl.train" and words[0] in PRESETS else []
            known = {flag for parser in parsers(module, *preset) for flag in parser._option_string_actions}
            assert set(flags) <= known, span


@pytest.mark.parametrize("page", pages())
def test_blocks_that_are_not_tried_are_listed(page: str) -> None:
    found = blocks(page)
    assert [block.reason for block in found if block.reason] == NOT_RUN.get(page, [])
    plain = [block for block in found if not block.language and re.search(r"^\S*(python|make) ", block.text, re.M)]
    assert not plain, "commands belong into a block that is marked sh"


@pytest.mark.parametrize("page", [page for page in pages() if page not in RUN_ELSEWHERE])
def test_names_that_code_imports_exist(page: str) -> None:
    for block in blocks(page):
        if block.language == "python":
            for node in ast.walk(ast.parse(block.text)):
                if isinstance(node, ast.ImportFrom):
                    assert all(hasattr(importlib.import_module(str(node.module)), name.name) for name in node.names)


def test_every_flag_that_a_page_names_exists() -> None:
    known = set(re.findall(r"--[a-z][\w.-]*", (ROOT / "docs/reference.md").read_text(encoding="utf-8")))
    known |= {f"--{part}{name}" for part, name in switches()}
    known |= {flag.rpartition(".")[0] for flag in known}  # `--optim` stands for its group.
    unknown = []
    for page in pages():
        text = SPAN.sub("", BLOCK.sub("", (ROOT / page).read_text(encoding="utf-8")))
        spans = " ".join(re.findall(r"`[^`]*`", text)) if page not in OF_TESTS else ""
        flags = re.findall(r"(?<![\w-])--[a-z][\w.-]*\w", spans)
        unknown += [f"{page}: {flag}" for flag in flags if flag not in known and not flag.startswith("--xla")]
    assert not unknown, "\n".join(unknown)


def switches() -> set[tuple[str, str]]:
    """The flags that docs/reference.md shows as one: `--part.[no-]name` is `--part.name` and `--part.no-name`."""
    found = re.findall(r"--([\w.-]*)\[no-\]([\w-]+)", (ROOT / "docs/reference.md").read_text(encoding="utf-8"))
    return {(part, prefix + name) for part, name in found for prefix in ("", "no-")}


def test_the_check_sees_mistakes(stopped: None) -> None:
    for wrong in ("python -m jax_impl.train tiny --epochs 3", "python -m export.edge model.onnx", "make tea"):
        with pytest.raises((AssertionError, Exception)) as found:
            check(shlex.split(wrong))
        assert not isinstance(found.value, ParsedError)
