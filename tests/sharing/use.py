"""What is shared at the moment: fixtures of several folders may ask for the same at once."""

from __future__ import annotations

IN_USE = {"graphs": False, "steps": False, "exact": False}
"""By name, whether somebody shares them already; "exact" for graphs of the same weights alone."""
