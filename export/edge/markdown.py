"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table; each row has as many cells as the head."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
