"""File names that mean the same to a person, and names that are no text.

A name may hold bytes that are not UTF-8, which Python keeps as lone surrogates (PEP 383); an accent may be part of its
letter or follow it (Unicode's normal forms C and D); and file systems differ in whether they tell capitals apart.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path

from export.edge.errors import UserError


def as_text(name: str) -> str:
    """`name` with %E9 in place of a byte E9 that is no text, so that it can be encoded, drawn and used for a file."""
    return "".join(_escaped(c) if "\ud800" <= c <= "\udfff" else c for c in name)


def check_text(path: Path, what: str) -> Path:
    """Return `path` where its name is text, else raise UserError, which calls it `what`: libraries fail on others."""
    if as_text(str(path)) != str(path):
        raise UserError(f"{what} {as_text(str(path))} holds bytes that are not UTF-8; choose another name")
    return path


def partners(ours: Collection[str], others: Collection[str]) -> dict[str, str]:
    """For each of `ours` that has one, its name among `others`.

    An equal name comes first; then one that differs in Unicode form or encoding alone, then in letter case alone, each
    only where no second one would do.
    """
    found = {name: name for name in ours if name in others}
    for form in (composed, folded):
        ours = [name for name in ours if name not in found]
        left, right = _by(form, ours), _by(form, set(others) - set(found.values()))
        found |= {left[key]: right[key] for key in left.keys() & right.keys()}
    return found


def composed(name: str) -> str:
    """The name with letters and their accents in one (normal form C); bytes that are no UTF-8 are read as Latin-1."""
    if name != as_text(name) and all(c < "\ud800" or "\udc80" <= c <= "\udcff" or c > "\udfff" for c in name):
        name = name.encode("utf-8", "surrogateescape").decode("latin-1")
    return unicodedata.normalize("NFC", name)


def folded(name: str) -> str:
    """`composed`, and all letters small."""
    return unicodedata.normalize("NFC", composed(name).casefold())


class Spelling:
    """Finds files whose names are written in another Unicode form or letter case; remembers the folders it has read."""

    def __init__(self) -> None:
        self._folders: dict[Path, dict[str, str]] = {}

    def find(self, folder: Path, inside: Path) -> Path:
        """`folder / inside` as the disk spells it; as it is where nothing, or more than one thing, would do."""
        place = folder
        for part in inside.parts:
            there = place / part
            place = place / self._names(place).get(folded(part), part) if not os.path.lexists(there) else there
        return place

    def _names(self, folder: Path) -> dict[str, str]:
        if folder not in self._folders:
            try:
                self._folders[folder] = _by(folded, os.listdir(folder))
            except OSError:
                self._folders[folder] = {}
        return self._folders[folder]


def _by(form: Callable[[str], str], names: Collection[str]) -> dict[str, str]:
    """The names by their form, where one name alone has it."""
    forms = {name: form(name) for name in names}
    counts = Counter(forms.values())
    return {key: name for name, key in forms.items() if counts[key] == 1}


def _escaped(surrogate: str) -> str:
    code = ord(surrogate)
    return f"%{code - 0xDC00:02X}" if 0xDC80 <= code <= 0xDCFF else f"%u{code:04X}"
