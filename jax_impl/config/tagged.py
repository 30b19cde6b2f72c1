"""Config classes that a setting names, such as `architecture`, and the registry that holds each kind.

A registry's entries are frozen dataclasses that share a base class. A field of that base class, the tag, holds the name
of the entry, in Python as in JSON.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, TypeVar

from export.edge import plugins
from export.edge.registry import Registry

Base = TypeVar("Base")

_KINDS: dict[type, tuple[str, Registry[Any]]] = {}


def registry(base: type[Base], tag: str, kind: str) -> Registry[type[Base]]:
    """An empty registry of subclasses of `base`, which have their name in the field `tag`; `kind` is for messages."""
    entries: Registry[type[Base]] = Registry(kind)
    _KINDS[base] = (tag, entries)
    return entries


def kind_of(base: object) -> tuple[str, Registry[Any]] | None:
    """The tag and the registry of a base class; None for any other type."""
    return _KINDS.get(base) if isinstance(base, type) else None


def plugins_of(settings: object) -> plugins.Record:
    """The entries that a tree of settings names and that a user's modules registered."""
    found = ((entries, getattr(node, tag)) for node in _nodes(settings) for tag, entries in _kinds_of(node))
    records = ((entries.kind, name, entries.plugin_of(name)) for entries, name in found)
    return tuple(dict.fromkeys((kind, name, module) for kind, name, module in records if module is not None))


def _nodes(settings: Any) -> Iterator[object]:
    if isinstance(settings, tuple):
        for item in settings:
            yield from _nodes(item)
    elif dataclasses.is_dataclass(settings):
        yield settings
        for field in dataclasses.fields(settings):
            yield from _nodes(getattr(settings, field.name))


def _kinds_of(node: object) -> Iterator[tuple[str, Registry[Any]]]:
    for base in type(node).__mro__:
        if found := kind_of(base):
            yield found
