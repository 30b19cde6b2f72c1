"""Command lines derived from dataclasses by tyro; a mistake is one line, as in the commands made with argparse."""

from __future__ import annotations

import contextlib
import difflib
import io
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import tyro

from export.edge import plugins
from export.edge.command import VERSION
from export.edge.errors import UserError

try:
    # tyro's mistakes as data. It calls this interface private and subject to change; versions before 1.0.14 lack it.
    from tyro._errors import on_parse_error
except ImportError:
    on_parse_error = None

Settings = TypeVar("Settings")
_FLAG = re.compile(r"--[a-z][\w.-]*\w")
_FRAME = re.compile("[\u2500-\u257f]+|-{8,}|^[+|]|[+|]$", re.MULTILINE)
"""What tyro draws around its messages, where the terminal has such characters and where it has none."""


def parse(kind: type[Settings], words: Sequence[str] | None, prog: str) -> Settings:
    """The settings that the words of a command line say, or those of this process if None. Raises UserError."""
    return read(kind, plugins.take(words, "jax"), prog, about=kind.__doc__)


def read(kind: Any, words: Sequence[str], prog: str, *, about: str | None, **options: Any) -> Any:
    """An instance of `kind` from words without --plugin; `options` are those of `tyro.cli`.

    Raises UserError, with the flag, its value and what is possible; leaves with status 0 for --help and --version.
    """
    description = f"{about or ''}\n\n{plugins.FLAG} MODULE: {plugins.HELP}.\n--version: print the version and exit."

    def run(words: Sequence[str]) -> Any:
        return tyro.cli(kind, args=words, prog=prog, description=description, **options)

    if "--version" in words:
        print(VERSION)
        raise SystemExit(0)
    events: list[Any] = []
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed), _collected(events):
            return run(words)
    except SystemExit as leave:
        if leave.code in (0, None):
            raise
    mistake = _mistake(events[0], lambda: _flags(run, words)) if events else None
    message = mistake or " ".join(_FRAME.sub(" ", printed.getvalue()).split())
    raise UserError(f"{message.rstrip('.')}; see `{prog} --help`")


@contextlib.contextmanager
def _collected(events: list[Any]) -> Iterator[None]:
    """Append what tyro refuses to `events`; nothing, where tyro offers no such data."""
    with contextlib.nullcontext() if on_parse_error is None else on_parse_error(events.append):
        yield


def _mistake(event: Any, flags: Callable[[], list[str]]) -> str | None:
    """One line for what tyro refused; None for a kind of mistake that is not known here."""
    try:
        match type(event).__name__:
            case "UnrecognizedArgs":
                return _unrecognized(event.tokens, flags())
            case "InvalidChoice":
                return f"{event.argument.display_name()} is {event.value!r}; choose one of {', '.join(event.choices)}"
            case "BadValue" if event.reason == "too_few_values":
                return f"{event.argument.display_name()} lacks its value"
            case "MissingArgs":
                line = f"missing: {', '.join(missing.arg.display_name() for missing in event.missing_arguments)}"
                words = event.unrecognized_tokens
                return f"{line}; {_unrecognized(words, flags())}" if words else line
            case "InstantiationFailure":
                where = f"{event.argument.display_name()}: " if event.argument is not None else ""
                return where + event.message.strip().partition("\n")[0]
    except AttributeError:  # Another version of tyro names its data otherwise.
        pass
    return None


def _unrecognized(words: Sequence[str], flags: Sequence[str]) -> str:
    near = difflib.get_close_matches(words[0], flags, n=1)
    return f"unrecognized: {' '.join(words)}" + "".join(f"; did you mean {flag}?" for flag in near)


def _flags(run: Callable[[Sequence[str]], object], words: Sequence[str]) -> list[str]:
    """Every flag in the help of the command, for train that of the preset."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        run([*(word for word in words[:1] if not word.startswith("-")), "--help"])
    return _FLAG.findall(shown.getvalue())
