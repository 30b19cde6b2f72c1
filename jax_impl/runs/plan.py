"""How long the stages of a run are, where that was found from the time that steps take (`train.minutes`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from export.edge.errors import UserError
from jax_impl.runs.sealed_json import read_sealed_json, write_sealed_json

PLAN = "plan.json"


def write_plan(run: Path, planned: Mapping[int, int]) -> None:
    """Note in the run folder the steps of each stage that is planned, by its index; atomically."""
    write_sealed_json(run / PLAN, {"steps": {str(index): total for index, total in sorted(planned.items())}})


def read_plan(run: Path) -> Mapping[int, int]:
    """The steps of each stage that is planned, by its index; none where the run folder holds no plan.

    Raises UserError for a damaged file.
    """
    path = run / PLAN
    if not path.is_file():
        return {}
    steps = read_sealed_json(path, "plan").get("steps", ())
    if not isinstance(steps, dict) or not all(type(n) is int and n >= 1 and i.isdecimal() for i, n in steps.items()):
        raise UserError(f"plan {path} is damaged (it names no steps); restore it from a copy")
    return {int(index): total for index, total in steps.items()}
