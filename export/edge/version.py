"""The version of this project: the one place that says it. pyproject.toml reads it from here."""

from __future__ import annotations

__version__ = "0.2.0"
