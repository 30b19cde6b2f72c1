"""Command lines derived from dataclasses: one flag for each field, whose docstring is the help text.

The field `size` of the part `data` is `--data.size`. A field may be a bool, an int, a float, a str, a Path, a Literal,
any of these or None, a tuple of them, an entry of a registry that is typed as one word, or a dataclass, whose fields
are flags in turn. argparse of the standard library does the rest.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar

from export.edge import plugins
from export.edge.command import Parser
from export.edge.errors import UserError
from jax_impl.config import tagged
from jax_impl.config.as_json import entry, to_text
from jax_impl.config.docstrings import field_texts
from jax_impl.config.fields import MOST_USED, ONE_WORD, POSITIONAL, marked

Settings = TypeVar("Settings")
_NONE = "None"
_KINDS: dict[object, tuple[str, str]] = {
    int: ("INT", "a whole number"),
    float: ("FLOAT", "a number"),
    str: ("TEXT", "text"),
    Path: ("PATH", "a path"),
}
"""What a value of each type is called: in the help and in messages."""
OTHER_NAMES = {
    "--data.path": ("--data", "--dataset", "--data-dir", "--data-root", "--dataroot", "--train-dir", "--path"),
    "--data.size": ("--size", "--resolution", "--image-size", "--img-size", "--load-size"),
    "--data.threads": ("--workers", "--num-workers"),
    "--output-dir": ("--out", "--output", "--save-dir", "--logdir", "--results-dir", "--checkpoints-dir"),
    "--init-from": ("--weights", "--checkpoint", "--ckpt", "--pretrained", "--load", "--finetune"),
    "--model.compute-dtype": ("--dtype", "--precision", "--amp", "--fp16", "--bf16", "--mixed-precision"),
    "--optim.learning-rate": ("--lr", "--learning-rate", "--rate"),
    "--optim.weight-decay": ("--wd", "--weight-decay"),
    "--train.batch-size": ("--batch", "--batch-size", "--bs", "--train-batch-size"),
    "--train.devices": ("--gpus", "--gpu-ids", "--device", "--devices"),
    "--train.epochs": ("--epochs", "--n-epochs", "--num-epochs", "--num-train-epochs"),
    "--train.minutes": ("--minutes", "--time"),
}
"""What other programs call some flags of training."""


def parse(kind: type[Settings], words: Sequence[str] | None, prog: str) -> Settings:
    """The settings that the words of a command line say, or those of this process if None. Raises UserError."""
    return read(kind, plugins.take(words, "jax"), prog)


def read(
    kind: type[Settings], words: Sequence[str], prog: str, *, default: Settings | None = None, about: str | None = None
) -> Settings:
    """An instance of `kind` from words without --plugin; `default` has the values of flags that are not there.

    Raises UserError, with the flag, its value and what is possible; leaves with status 0 for --help and --version.
    """
    parser = _Parser(prog, about or kind.__doc__ or "")
    parser.add(kind, default)
    given, left = parser.parse_known_intermixed_args([_hyphens(word) for word in words])
    values = vars(given)
    missing = [flag for name, flag in parser.needed.items() if name not in values]
    faults = [f"missing: {', '.join(missing)}"] if missing else []
    if left:
        near = nearest(left[0].partition("=")[0], parser.flags)
        faults.append(f"unrecognized: {' '.join(left)}" + (f"; did you mean {near}?" if near else ""))
    if faults:
        parser.error("; ".join(faults))
    return _made(kind, default, values)


def nearest(word: str, flags: Sequence[str]) -> str | None:
    """The flag that was probably meant: one that other programs give this name, or one that is spelled alike."""
    usual = next((flag for flag, others in OTHER_NAMES.items() if word in others and flag in flags), None)
    return usual or next(iter(difflib.get_close_matches(word, flags, n=1)), None)


class _Parser(Parser):
    """A parser whose flags are the fields of dataclasses."""

    def __init__(self, prog: str, about: str) -> None:
        super().__init__(prog=prog, description=about)
        self.usage, self.allow_abbrev = "%(prog)s [--flag VALUE ...]", False
        self.formatter_class = argparse.RawDescriptionHelpFormatter
        self.flags: list[str] = []
        self.first: Any = None
        """The group of the flags that the help lists first, where there are any."""
        self.needed: dict[str, str] = {}
        """The flag of each field that has no default, by the field's dotted name."""

    def error(self, message: str) -> NoReturn:
        super().error(message.removeprefix("argument "))

    def add(self, kind: type, default: object | None, prefix: str = "") -> None:
        """Flags for the fields of a dataclass; `default` is an instance with their values, or None."""
        hints, texts = typing.get_type_hints(kind), field_texts(kind)
        group: Any = self.add_argument_group(prefix.rstrip("."), _first_line(kind)) if prefix else self
        if not prefix and default is not None and marked(default, MOST_USED):
            self.first = self.add_argument_group("most used", "The flags that most people need; all others follow.")
        later: list[tuple[Any, ...]] = []
        for field in _inputs(kind):
            name, value = f"{prefix}{field.name}", _default(field, default)
            if _is_part(field, value):
                self.add(type(value), value, f"{name}.")
            else:
                flag = (field, name, hints[field.name], value, texts.get(field.name, ""))
                if self.first is not None and MOST_USED.items() <= field.metadata.items():
                    self._add_flag(self.first, *flag)
                elif self.first is not None and not prefix:
                    later.append(flag)
                else:
                    self._add_flag(group, *flag)
        if later:
            group = self.add_argument_group(
                "more", "The rest of a run: its codec, its losses, and who trains together."
            )
            for flag in later:
                self._add_flag(group, *flag)

    def _add_flag(self, group: Any, field: dataclasses.Field[Any], name: str, hint: Any, value: Any, text: str) -> None:
        flag = f"--{name.replace('_', '-')}"
        hint, may_be_none = _without_none(hint)
        words = typing.get_origin(hint) is tuple
        item = typing.get_args(hint)[0] if words else hint
        options: dict[str, Any] = {"help": (text + _shown(value)).replace("%", "%%"), "default": argparse.SUPPRESS}
        if item is bool:
            opposite = f"--{name[: -len(field.name)]}no-{field.name}".replace("_", "-")
            flags = [flag, opposite] if name != field.name or value is True else [flag]
            self.flags += flags
            group.add_argument(*flags, dest=name, action=_Switch, **options)
            return
        options |= {"type": _reader(item, field.name, flag, may_be_none), "metavar": _metavar(item)}
        if metavar := field.metadata.get(POSITIONAL):
            nargs = None if value is dataclasses.MISSING else "?"
            group.add_argument(name, nargs=nargs, **options | {"metavar": metavar})
            return
        self.flags.append(flag)
        if value is dataclasses.MISSING:
            self.needed[name] = flag
        group.add_argument(flag, dest=name, nargs="*" if words else None, **options)


class _Switch(argparse.Action):
    """Sets a bool: true for its first flag, false for the second, where there is one."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **options)

    def __call__(self, _parser: object, namespace: object, _values: object, flag: str | None = None) -> None:
        setattr(namespace, self.dest, flag == self.option_strings[0])


def _reader(kind: Any, field: str, flag: str, may_be_none: bool) -> typing.Callable[[str], Any]:
    """From one word to a value of that type; raises ArgumentTypeError, and UserError for an entry of a registry."""
    options = typing.get_args(kind) if typing.get_origin(kind) is Literal else ()
    if not options and kind not in _KINDS and not tagged.kind_of(kind):
        raise UserError(f"{flag} is of type {kind}, which no flag can have; see jax_impl.config.command for those")

    def read_word(word: str) -> Any:
        if may_be_none and word == _NONE:
            return None
        if tagged.kind_of(kind):
            return entry(kind, word, field)
        if options:
            found = [option for option in options if str(option) == word]
            if not found:
                raise argparse.ArgumentTypeError(f"{word!r} is unknown; choose one of {', '.join(map(str, options))}")
            return found[0]
        try:
            return kind(word)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{word!r} is not {_KINDS[kind][1]}") from None

    return read_word


def _metavar(kind: Any) -> str:
    if typing.get_origin(kind) is Literal:
        return "{" + ",".join(map(str, typing.get_args(kind))) + "}"
    return _KINDS[kind][0] if kind in _KINDS else "NAME|JSON"


def _without_none(hint: Any) -> tuple[Any, bool]:
    """`X` for `X | None`, and whether None was there."""
    if typing.get_origin(hint) not in (types.UnionType, typing.Union):
        return hint, False
    options = typing.get_args(hint)
    return next(option for option in options if option is not type(None)), type(None) in options


def _made(kind: Any, default: object | None, given: Mapping[str, Any], prefix: str = "") -> Any:
    """An instance of the dataclass, from what was typed and the defaults."""
    values = {}
    for field in _inputs(kind):
        name, value = f"{prefix}{field.name}", _default(field, default)
        if _is_part(field, value):
            value = _made(type(value), value, given, f"{name}.")
        elif name in given:
            value = tuple(given[name]) if isinstance(given[name], list) else given[name]
        values[field.name] = value
    return kind(**values)


def _inputs(kind: type) -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(kind) if field.init]


def _default(field: dataclasses.Field[Any], default: object | None) -> Any:
    """The value of a field that is not typed; MISSING where it has to be."""
    if default is not None:
        return getattr(default, field.name)
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _is_part(field: dataclasses.Field[Any], value: object) -> bool:
    return dataclasses.is_dataclass(value) and not ONE_WORD.items() <= field.metadata.items()


def _shown(default: Any) -> str:
    """What the help says about a flag that is left out; nothing, where its own text has to."""
    if default is None or default is False or default in ((), ""):
        return ""
    if default is dataclasses.MISSING:
        return " (required)"
    words = default if isinstance(default, tuple) else (default,)
    return f" (default: {' '.join(to_text(word) if dataclasses.is_dataclass(word) else str(word) for word in words)})"


def _first_line(kind: type) -> str:
    return (kind.__doc__ or "").strip().partition("\n")[0]


def _hyphens(word: str) -> str:
    """A flag as the help spells it: `--output_dir=my_run` is `--output-dir=my_run`."""
    flag, equals, value = word.partition("=")
    return flag.replace("_", "-") + equals + value if flag.startswith("--") else word
