"""The home folder of whoever runs this: a process in a container may have none, nor an entry in the list of users."""

from __future__ import annotations

import os
from pathlib import Path

from export.edge.errors import UserError


def home() -> Path | None:
    """The user's home folder; None where neither HOME nor the list of users says where it is."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def caches() -> Path | None:
    """The folder for caches of all programs, `~/.cache` unless XDG_CACHE_HOME says otherwise; None without a home."""
    if named := os.environ.get("XDG_CACHE_HOME"):
        return Path(named)
    known = home()
    return None if known is None else known / ".cache"


def expand(path: Path | str, what: str) -> Path:
    """`path` with a home in place of a leading `~` or `~user`; a name such as `~photos` of no user is kept.

    Raises UserError, which calls it `what`, for `~` where this user has no home.
    """
    path = Path(path)
    first = path.parts[0] if path.parts else ""
    if not first.startswith("~") or (first != "~" and Path(first).exists()):
        return path
    try:
        return path.expanduser()
    except RuntimeError:
        if first != "~" or path.exists():
            return path
        raise UserError(f"{what} {path}: this user has no home folder (HOME is not set); write it without ~") from None


def make_writable(folder: Path) -> bool:
    """Whether files can be written into `folder`, which is made if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)
