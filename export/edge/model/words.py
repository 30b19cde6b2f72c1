"""What a model says of itself for people: its title, and what it turns into what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from export.edge.errors import UserError

WORDS = ("title", "input_name", "target_name")
"""Entries of the metadata that may be there or not."""
LONGEST = 60
"""Characters of each."""


@dataclass(frozen=True)
class Words:
    """Each is one short line, or empty where nothing is said."""

    title: str = ""
    """What the model is called."""
    input_name: str = ""
    """What it takes, such as "sunrise"."""
    target_name: str = ""
    """What it makes of that, such as "sunset"."""

    def entries(self) -> dict[str, str]:
        """Those that are not empty, by name, as the metadata hold them."""
        return {name: text for name, text in asdict(self).items() if text}


NO_WORDS = Words()


def check_line(text: str, what: str) -> str:
    """The text. Raises UserError, with `what` it is, where it is no line of 1 to LONGEST characters."""
    if not (text.strip() and len(text) <= LONGEST and text.isprintable()):
        shown = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
        raise UserError(f"{what} {shown!r} is not one line of 1 to {LONGEST} characters; name a shorter one at export")
    return text.strip()


def read_words(held: Mapping[str, str], where: str) -> Words:
    """The words among entries of metadata. Raises UserError, which begins with `where`, for one that is no line."""
    return Words(**{name: check_line(held[name], f"{where}: {name}") for name in WORDS if name in held})
