"""How settings refuse a value: one line that names the field, what it is, and what to choose."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from export.edge.errors import UserError


def require(condition: bool, name: str, value: object, rule: str) -> None:
    """Raise UserError unless the condition holds; `rule` says what to choose."""
    if not condition:
        raise UserError(f"{name} is {value!r}: {rule}")


def require_share(name: str, value: float) -> None:
    """Raise UserError unless the value lies from 0 to 1."""
    require(0.0 <= value <= 1.0, name, value, "it is a share; choose a value from 0 to 1")


def require_finite(name: str, settings: Any) -> None:
    """Raise UserError for the first float in a tree of settings, called `name`, that is NaN or infinite."""
    if dataclasses.is_dataclass(settings):
        for field in dataclasses.fields(settings):
            require_finite(f"{name}.{field.name}".lstrip("."), getattr(settings, field.name))
    elif isinstance(settings, tuple):
        for value in settings:
            require_finite(name, value)
    else:
        require(not isinstance(settings, float) or math.isfinite(settings), name, settings, "choose a finite number")
