"""Modules of a user that register networks, losses and the like: loaded by name, or found as entry points.

Every command takes `--plugin package.module`, any number of times. A package can name its modules as entry points
instead, in the group of the package that loads them: `dawn2dusk.edge`, `dawn2dusk.jax`, `dawn2dusk.torch` or
`dawn2dusk.export`.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import reprlib
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import PathFinder
from typing import Literal

from export.edge.errors import UserError

Group = Literal["edge", "jax", "torch", "export"]
GROUPS: dict[Group, tuple[Group, ...]] = {
    "edge": ("edge",),
    "jax": ("edge", "jax"),
    "torch": ("edge", "torch"),
    "export": ("edge", "torch", "export"),
}
"""Which groups of entry points a command of each package loads: those of the packages that it imports."""
FLAG = "--plugin"
HELP = "module of your own that registers networks, losses and the like, such as my_package.my_module; may be repeated"

Record = tuple[tuple[str, str, str], ...]
"""What of a file's content a user's modules registered: ("network", "toy", "my_module") for each entry."""

_loading: list[str] = []
_PACKAGES, _EGG, _IN_EGG = (".dist-info", ".egg-info"), ".egg", "egg-info"
"""What folders about installed packages are called; an egg is on the path itself, and has such a folder inside."""
_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def loading() -> str | None:
    """The user's module that is being imported now, by the name it was asked for."""
    return _loading[-1] if _loading else None


def take(argv: Sequence[str] | None, group: Group) -> list[str]:
    """Load the modules that a command line names, and return its other words; None is that of this process."""
    names, rest = split(sys.argv[1:] if argv is None else argv)
    load_plugins(names, group)
    return rest


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The modules that a command line names with --plugin, and its other words. Raises UserError without a name."""
    names, rest, left = [], [], iter(words)
    for word in left:
        flag, equals, value = word.partition("=")
        if flag != FLAG:
            rest.append(word)
            continue
        name = value if equals else next(left, "")
        if not _NAME.fullmatch(name):
            raise UserError(f"{FLAG} is {shown(name)}: give the dotted name of a module, such as my_package.my_module")
        names.append(name)
    return names, rest


def load_plugins(names: Sequence[str], group: Group) -> None:
    """Import the named modules, and those that installed packages name as entry points of the group's GROUPS.

    The folder that the command was started in is searched too. Raises UserError for one that cannot be imported.
    """
    for module in _named_by_packages(group):
        _import(module)
    for name in names:
        _import(name)


def _named_by_packages(group: Group) -> Iterator[str]:
    """The modules that installed packages name as entry points of the group's GROUPS."""
    if not _may_be_named():
        return
    from importlib import metadata

    for each in GROUPS[group]:
        for point in sorted(metadata.entry_points(group=f"dawn2dusk.{each}"), key=lambda point: point.name):
            yield point.module


def _may_be_named() -> bool:
    """Whether a package may name modules of ours: loading importlib.metadata takes longer than looking for that.

    Folders are looked through as importlib.metadata does. Of anything else, such as a zip file, it has to be asked.
    """
    for place in map(os.fspath, sys.path):
        try:
            names = os.listdir(place or ".")
        except NotADirectoryError:
            return True
        except OSError:
            continue
        egg = os.path.basename(place).lower().endswith(_EGG)
        found = (name for name in names if name.lower().endswith(_PACKAGES) or (egg and name.lower() == _IN_EGG))
        if any(_holds(os.path.join(place, name, "entry_points.txt"), b"dawn2dusk.") for name in found):
            return True
    return any(hasattr(finder, "find_distributions") for finder in sys.meta_path if finder is not PathFinder)


def _holds(path: str, text: bytes) -> bool:
    """Whether there is a file with this text."""
    try:
        with open(path, "rb") as file:
            return text in file.read()
    except OSError:
        return False


def record(value: object, where: str) -> Record:
    """The record in a file's metadata, parsed from JSON. Raises UserError for anything else than a list of triples."""
    match value:
        case list() if all(isinstance(row, list) and [*map(type, row)] == [str] * 3 for row in value):
            return tuple((kind, name, module) for kind, name, module in value)
    raise UserError(f"{where} is {shown(value)}, not a list of [kind, name, module]; write the file again")


def module_of(record: Record, kind: str, name: object) -> str | None:
    """The module that registered an entry; None where the record does not have it."""
    return next((module for its_kind, its_name, module in record if (its_kind, its_name) == (kind, name)), None)


def module_behind(entry: object, plugin: str) -> str:
    """The module that defines an entry; `plugin`, the one that is being loaded, where the entry is of a class of ours.

    A plugin may import others: the one to load for an entry is its own.
    """
    module = str(getattr(entry, "__module__", None) or plugin)
    return plugin if module.partition(".")[0] in ("export", "jax_impl", "torch_ref", "builtins") else module


def shown(value: object) -> str:
    """A value in an error message, shortened."""
    return reprlib.repr(value)


def _import(name: str) -> None:
    with _from_here(), _as(name):
        try:
            importlib.import_module(name)
        except UserError as error:
            raise UserError(f"plugin {name}: {error}") from error
        except Exception as error:  # Whatever the module's own code raises.
            raise UserError(
                f"plugin {name} cannot be imported ({type(error).__name__}: {error}); run the command where `python -c "
                f"'import {name}'` works"
            ) from error


@contextlib.contextmanager
def _from_here() -> Iterator[None]:
    """Search the current folder last: console scripts, unlike `python -m`, do not."""
    here = os.getcwd()
    added = here not in sys.path and "" not in sys.path
    if added:
        sys.path.append(here)
    try:
        yield
    finally:
        if added:
            sys.path.remove(here)


@contextlib.contextmanager
def _as(name: str) -> Iterator[None]:
    _loading.append(name)
    try:
        yield
    finally:
        _loading.pop()
