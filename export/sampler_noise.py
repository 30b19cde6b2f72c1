"""Which samplers a graph with one input of noise can hold."""

from __future__ import annotations

from collections.abc import Mapping

from export.edge.errors import UserError
from export.edge.sampling.table import Plan
from export.edge.sampling.tables import read_tables

OF_GAUSSIAN_DIFFUSION = ("ddim", "dpmpp", "heun")


def check_noise(held: Mapping[str, str], plan: Plan) -> None:
    """Raise UserError for a plan that takes noise more than once; `held`: the metadata of the denoiser's file."""
    if not _again(plan):
        return
    names = list(OF_GAUSSIAN_DIFFUSION)
    if "tables" in held:
        tables = read_tables(held["tables"])
        names = [name for name, plans in tables.items() if not any(map(_again, plans.values()))]
    others = " or ".join(filter(None, (", ".join(names[:-1]), *names[-1:]))) or "another"
    raise UserError(
        f"the sampler {held['sampler']} adds noise in its steps, and sampler.onnx takes noise once; choose "
        f"--sampler {others}"
    )


def _again(plan: Plan) -> bool:
    """Once is at its start, or else after the first call."""
    return bool(plan.noise[1:].any() or (plan.noise[0] != 0.0 and plan.start_from_noise != 0.0))
