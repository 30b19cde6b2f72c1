"""Numbers in the words of a tool that must not be too small."""

from __future__ import annotations

import argparse
import math

from export.edge.errors import UserError


def check_counts(arguments: argparse.Namespace, *names: str, least: float = 1) -> None:
    """Raise UserError for the first of these options that is, or has, a number below `least` or not finite."""
    for name in names:
        value = getattr(arguments, name)
        for number in value if isinstance(value, list | tuple) else [value]:
            if not (math.isfinite(number) and number >= least):
                raise UserError(f"--{name.replace('_', '-')} is {number}: choose at least {least:g}")
