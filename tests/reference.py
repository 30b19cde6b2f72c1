"""Writes the page of all commands and flags from the parsers: `python -m tests.reference docs/reference.md`."""

from __future__ import annotations

import argparse
import ast
import functools
import importlib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
ASIDE = re.compile(r"\s*\(default: (.*)\)$", re.DOTALL)
"""What a parser appends to the text of a flag."""
SHARED = ("help", "version", "plugin")
"""Flags that every command has, described once."""
ORDER = (
    *("jax_impl.train", "jax_impl.doctor", "jax_impl.prepare", "jax_impl.sample", "jax_impl.evaluate"),
    *("jax_impl.bundle", "export.to_onnx", "export.edge", "export.edge.info", "export.video", "export.web"),
    "export.verify",
)
"""Commands that a user meets first, in that order; all others follow by name."""
TOP = """# Commands and flags

Written from the help texts of the commands by `python -m tests.reference docs/reference.md`. Every command also takes:

| flag | effect |
|---|---|
| `--help` | prints the help and exits |
| `--version` | prints the version and exits |
| `--plugin MODULE` | loads a module of your own ([extending](extending.md)); may be repeated |

`--[no-]flag` stands for two flags: `--flag` switches on, `--no-flag` switches off.
"""


class FoundError(Exception):
    """Ends a command where it would read its words, with its parser."""


@functools.cache
def modules(root: Path = ROOT) -> tuple[str, ...]:
    """The modules of the packages that are commands: those with a function `cli`, and `export.edge info`."""
    found = ["export.edge.info"]
    for path in (path for package in ("jax_impl", "torch_ref", "export") for path in (root / package).rglob("*.py")):
        if any(isinstance(node, ast.FunctionDef) and node.name == "cli" for node in ast.parse(path.read_text()).body):
            found.append(".".join(path.relative_to(root).with_suffix("").parts))
    return tuple(sorted(found))


@functools.cache
def parsers(command: str, *words: str) -> tuple[argparse.ArgumentParser, ...]:
    """The parser of a command, by its module, the first of the words, and those of its subcommands."""

    def stop(parser: argparse.ArgumentParser, *_: Any, **__: Any) -> NoReturn:
        raise FoundError(parser)

    with mock.patch.object(argparse.ArgumentParser, "parse_known_args", stop):
        try:
            importlib.import_module(command).main(list(words))
        except FoundError as found:
            todo, listed = [found.args[0]], []
        else:
            raise AssertionError(f"{command} has read no words")
    while todo:
        listed.append(todo.pop())
        todo += [
            sub for action in listed[-1]._actions if isinstance(action.choices, dict) for sub in action.choices.values()
        ]
    return tuple(listed)


def page(presets: Sequence[str]) -> str:
    """The whole page, with what the presets change."""
    names = [name.removesuffix(".__main__") for name in modules()]
    parts = [TOP]
    for name in sorted(names, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name)):
        module = f"{name}.__main__" if f"{name}.__main__" in modules() else name
        for parser in parsers(module):
            parts += _command(parser)
        if name == "jax_impl.train":
            parts += [*_presets(module, presets), *_processes(module)]
    return "\n".join(parts)


def _command(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield f"## {parser.prog.removeprefix('python -m ')}\n"
    yield f"{_text((parser.description or '').partition(chr(10) * 2)[0])}\n"
    shown = False
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if _own(action)]
        if not actions:
            continue
        if shown and group.title and group.title not in ("options", "positional arguments"):
            yield f"**`{group.title}`**{'. ' + _text(group.description) if group.description else ''}\n"
        shown = True
        yield "| argument | default | effect |\n|---|---|---|"
        yield "".join(_row(action) for action in actions)


def _presets(module: str, presets: Sequence[str]) -> Iterator[str]:
    """What each preset changes, and flags that none before it had."""
    known = _flags(parsers(module)[0])
    yield "### Presets\n"
    yield "The flags above are those of `seed`. Other presets differ in these:\n"
    for preset in presets:
        (parser, *_) = parsers(module, preset)
        yield f"**`{preset}`**. {_text((parser.description or '').rpartition(f'preset {preset}: ')[2])}\n"
        yield from _changes(known, _flags(parser))
        known = _flags(parser) | known


def _processes(module: str) -> Iterator[str]:
    """What each diffusion process changes, other than the preset's own."""
    from jax_impl.diffusion.process import PROCESSES

    known = _flags(parsers(module)[0])
    yield "### Processes\n"
    yield "With `--diffusion.process` the flags of `--diffusion` are those of another process, whatever the preset:\n"
    for name, kind in PROCESSES.items():
        there = _flags(parsers(module, "--diffusion.process", name)[0])
        own = {flag: action for flag, action in there.items() if flag.startswith("`--diffusion.")}
        if own.keys() - known.keys():
            yield f"**`{name}`**. {_text((kind.__doc__ or '').partition(chr(10))[0])}\n"
            yield from _changes(known, own)


def _changes(known: Mapping[str, argparse.Action], there: Mapping[str, argparse.Action]) -> Iterator[str]:
    """Tables of flags with another default than the known ones, and of flags that are not known."""
    changed = [a for name, a in there.items() if name in known and _default(a) != _default(known[name])]
    if changed:
        yield "| argument | default |\n|---|---|"
        yield "".join(f"| {_name(action)} | {_default(action)} |\n" for action in changed)
    new = [action for name, action in there.items() if name not in known]
    if new:
        yield "| further argument | default | effect |\n|---|---|---|"
        yield "".join(map(_row, new))


def _flags(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    return {_name(action): action for action in parser._actions if _own(action)}


def _row(action: argparse.Action) -> str:
    return f"| {_name(action)} | {_default(action)} | {_effect(action)} |\n"


def _own(action: argparse.Action) -> bool:
    return action.dest not in SHARED and not isinstance(action.choices, dict)


def _name(action: argparse.Action) -> str:
    value = _value(action)
    if not action.option_strings:
        return f"`{value or action.dest}`"
    first, *others = action.option_strings
    if others and "no-" in others[-1]:
        start, _, name = first.rpartition(".")
        return f"`{start}.[no-]{name}`" if start else f"`--[no-]{name.removeprefix('--')}`"
    return ", ".join(f"`{flag}{' ' + value if value else ''}`" for flag in action.option_strings)


def _value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    name = action.metavar.replace("|", " or ") if isinstance(action.metavar, str) else None
    if name is None and action.choices:
        name = "{" + ",".join(map(str, action.choices)) + "}"
    name = name or (action.dest.upper() if action.option_strings else action.dest)
    return f"{name} …" if action.nargs in ("*", "+") else name


def _default(action: argparse.Action) -> str:
    found = ASIDE.search((action.help or "").replace("%%", "%"))
    return f"`{_text(found[1])}`" if found else ("required" if (action.help or "").endswith("(required)") else "")


def _effect(action: argparse.Action) -> str:
    text = ASIDE.sub("", (action.help or "").replace("%%", "%")).removesuffix(" (required)")
    return _text(text).replace("|", "\\|")


def _text(words: str | None) -> str:
    """Words in one line, as the help has them, safe in Markdown."""
    return " ".join((words or "").split()).replace("<", "&lt;").replace("*", "\\*")


def main(words: Sequence[str]) -> None:
    """Write the page to the file that the words name."""
    from jax_impl.config.presets import PRESETS

    (target,) = words
    Path(target).write_text(page([name for name in PRESETS if name != "seed"]), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
