"""What a campaign of faults reports: how often something was tried, and how often it went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One kind of fault and its outcome."""

    fault: str
    """What was done, in a few words."""
    tried: int
    wrong: int
    """How many ended otherwise than they must; each is described in `failures`."""
    outcome: str
    """What must happen, with figures where there are some: what those that went right ended in."""
    failures: tuple[str, ...] = ()
    """One line each, with all that is needed to do it again."""


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| fault | tried | wrong | outcome |", "|---|---|---|---|"]
    lines += [f"| {row.fault} | {row.tried:,} | {row.wrong:,} | {row.outcome} |" for row in rows]
    return "\n".join(lines) + "\n"
