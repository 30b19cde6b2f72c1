"""What older programs wrote, as today's tree of settings: functions from tree to tree, applied in order.

A setting that is merely new needs none: a missing key takes its default.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

MIGRATIONS: tuple[Callable[[dict[str, Any]], dict[str, Any]], ...] = ()


def migrated(tree: object) -> object:
    """The tree as today's programs would have written it."""
    if isinstance(tree, dict):
        for migration in MIGRATIONS:
            tree = migration(tree)
    return tree
