"""Command lines derived from dataclasses: tyro's, but a mistake is one line, as for every other mistake."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Iterator, Sequence
from typing import TypeVar

import tyro

from export.edge import plugins
from export.edge.errors import UserError

Settings = TypeVar("Settings")
_BOX = re.compile(r"[╭╮╰╯│]|^[+|]|[+|]$")


def parse(kind: type[Settings], words: Sequence[str] | None, prog: str) -> Settings:
    """The settings that the words of a command line say, or those of this process if None. Raises UserError."""
    words = plugins.take(words, "jax")
    with one_line(prog):
        return tyro.cli(kind, args=words, prog=prog, description=described(kind.__doc__))


def described(text: str | None) -> str:
    """What a command's help says first, with the flag that every command has."""
    return f"{text or ''}\n\n{plugins.FLAG} MODULE: {plugins.HELP}."


@contextlib.contextmanager
def one_line(prog: str) -> Iterator[None]:
    """Turn the box in which tyro explains a mistake, before it leaves with status 2, into a UserError."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            yield
    except SystemExit as leave:
        if leave.code in (0, None):
            raise
        raise UserError(_line(said.getvalue(), prog)) from None
    finally:
        if sys.exc_info()[0] is None:
            sys.stderr.write(said.getvalue())


def _line(box: str, prog: str) -> str:
    """What the box says is wrong, and the first option that it proposes."""
    parts = re.split(r"[─-]{8,}", "\n".join(_BOX.sub("", line) for line in box.splitlines()[1:]))
    mistake, *rest = [part for part in parts if part.strip()] or [box]
    meant = next((part for part in rest if "Perhaps you meant" in part), "")
    near = re.search(r"--\S+", meant)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"{mistake.strip().rstrip('.')}{hint}; see `{prog} --help`"
