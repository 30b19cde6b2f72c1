"""Named entries of one kind, such as networks or loss terms, to which a user's own modules add theirs."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from export.edge import plugins
from export.edge.errors import UserError

Entry = TypeVar("Entry")


class Registry(Mapping[str, Entry], Generic[Entry]):
    """Entries by name, in the order in which they were added."""

    def __init__(self, kind: str) -> None:
        """`kind`: what an entry is, for messages, such as "network"."""
        self.kind = kind
        self._entries: dict[str, Entry] = {}
        self._plugins: dict[str, str] = {}

    def add(self, name: str, entry: Entry) -> Entry:
        """Add an entry and return it. Raises UserError for a name that another entry has."""
        if name in self._entries:
            raise UserError(f"{self.kind} {name!r} is registered twice; give one of the two another name")
        self._entries[name] = entry
        if plugin := plugins.loading():
            self._plugins[name] = plugins.module_behind(entry, plugin)
        return entry

    def find(self, name: object, where: str, plugin: str | None = None) -> Entry:
        """The entry of that name.

        `where`: what holds the name, such as "config.model.architecture"; `plugin`: the module that is known to
        register it. Raises UserError, with the known names and that module, where there is none.
        """
        if isinstance(name, str) and name in self._entries:
            return self._entries[name]
        near = difflib.get_close_matches(name, self._entries, n=1) if isinstance(name, str) else []
        choices = f"choose one of {', '.join(self._entries)}" + "".join(f"; did you mean {other}?" for other in near)
        if plugin is not None:
            choices = f"load its {self.kind} with --plugin {plugin}"
        raise UserError(f"{where} is {plugins.shown(name)}: {choices}")

    def plugin_of(self, name: str) -> str | None:
        """The module of a user that registered this name; None for our own entries."""
        return self._plugins.get(name)

    def __getitem__(self, name: str) -> Entry:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
