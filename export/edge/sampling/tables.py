"""Tables of samplers as data: how a process that is not gaussian diffusion travels in a bundle and in an artifact.

As JSON they are {sampler: {number of steps: columns}}, columns as `Plan.to_columns` makes them. They come from files
that anyone may have written, so all of it is checked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from export.edge.disk.reading import parse_json
from export.edge.errors import UserError
from export.edge.sampling.table import Plan

Tables = Mapping[str, Mapping[int, Plan]]
"""The Plan of each sampler, by its name, for each number of steps."""
MOST_CALLS = 100_000
"""Rows of all tables together."""
MOST_TIMESTEPS = 100_000
"""Timesteps T of a process: as many as training allows."""
LONGEST_NAME = 40
"""Characters of a sampler's name."""


def write_tables(tables: Tables) -> str:
    """The tables as JSON text, which `read_tables` takes."""
    held = {name: {str(steps): plan.to_columns() for steps, plan in plans.items()} for name, plans in tables.items()}
    return json.dumps(held, allow_nan=False)


def read_tables(text: str) -> Tables:
    """Tables from JSON text; UserError, naming sampler and steps, for anything that `write_tables` does not write."""
    try:
        held = parse_json(text)
    except ValueError as error:
        raise UserError(f"tables are not JSON ({error})") from error
    if not isinstance(held, dict) or not held:
        raise UserError("tables are not an object of samplers")
    tables: dict[str, dict[int, Plan]] = {}
    calls = 0
    for name, plans in held.items():
        if not (name.isascii() and name.isprintable() and 0 < len(name) <= LONGEST_NAME):
            raise UserError(f"tables name the sampler {name[:80]!r}, which is not 1 to {LONGEST_NAME} plain characters")
        if not isinstance(plans, dict) or not plans:
            raise UserError(f"tables of the sampler {name} are not an object of steps")
        tables[name] = {}
        for steps, columns in plans.items():
            plan = _plan(name, steps, columns)
            calls += len(plan)
            if calls > MOST_CALLS:
                raise UserError(f"tables have more than {MOST_CALLS} rows")
            tables[name][int(steps)] = plan
    return tables


def _plan(name: str, steps: str, columns: Any) -> Plan:
    if not re.fullmatch(r"[1-9][0-9]{0,5}", steps):
        raise UserError(f"tables of the sampler {name} have the steps {steps[:40]!r}, not a number from 1 up")
    try:
        plan = Plan.from_columns(columns)
    except UserError as error:
        raise UserError(f"table of the sampler {name} in {steps} steps: {error}") from None
    if _largest(plan) >= MOST_TIMESTEPS:
        raise UserError(f"table of the sampler {name} in {steps} steps: its t reach {MOST_TIMESTEPS} or more")
    return plan


def choose(tables: Tables, sampler: str, steps: int, eta: float = 0.0) -> Plan:
    """The plan of that sampler in so many steps. Raises UserError, naming what there is, where there is none."""
    if sampler not in tables:
        raise UserError(f"sampler {sampler!r} is unknown; choose one of {', '.join(tables)}")
    if steps not in tables[sampler]:
        there = ", ".join(map(str, sorted(tables[sampler])))
        raise UserError(f"the model has no table of {sampler} in {steps} steps; choose one of {there}")
    if eta != 0.0:
        raise UserError(f"eta {eta} belongs to ddim of gaussian diffusion; leave it out")
    return tables[sampler][steps]


def timesteps_of(tables: Tables) -> int:
    """T: one more than the largest t of any table."""
    return 1 + max(_largest(plan) for plans in tables.values() for plan in plans.values())


def _largest(plan: Plan) -> int:
    """The largest timestep of a plan at any realism."""
    return int(max(plan.t.max(), 0 if plan.mean_t is None else plan.mean_t.max()))
