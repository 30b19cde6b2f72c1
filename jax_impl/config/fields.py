"""Facts about a setting, as metadata of its field: `field(metadata=TRAINING_ONLY)`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

TRAINING_ONLY: Mapping[str, bool] = MappingProxyType({"training_only": True})
"""The setting changes how a network is trained, not what its weights compute."""

FREE_ON_RESUME: Mapping[str, bool] = MappingProxyType({"free_on_resume": True})
"""A resumed run may change the setting: it does not alter the steps to come."""


ONE_WORD: Mapping[str, bool] = MappingProxyType({"one_word": True})
"""The setting, an entry of a registry, is typed as one word: its name, or a JSON object with its name and settings."""

MOST_USED: Mapping[str, bool] = MappingProxyType({"most_used": True})
"""The help lists the flag of the setting first, among those that most people need."""

POSITIONAL = "positional"
"""Key of what the help calls a value that is typed without a flag: `field(metadata={POSITIONAL: "DIR"})`."""


def marked(settings: Any, mark: Mapping[str, bool], prefix: str = "") -> set[str]:
    """The dotted names of the fields in a tree of settings whose metadata hold the mark."""
    names: set[str] = set()
    for field in dataclasses.fields(settings):
        value, name = getattr(settings, field.name), f"{prefix}{field.name}"
        if mark.items() <= field.metadata.items():
            names.add(name)
        if dataclasses.is_dataclass(value):
            names |= marked(value, mark, f"{name}.")
        elif isinstance(value, tuple):
            for i, item in enumerate(value):
                names |= marked(item, mark, f"{name}.{i}.") if dataclasses.is_dataclass(item) else set()
    return names
