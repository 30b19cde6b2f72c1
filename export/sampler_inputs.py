"""What the sampler's graph is given: noise, once; the input picture with the place of each pixel; and the timesteps."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import TensorProto

from export.edge.errors import UserError
from export.edge.sampling.table import Plan
from export.edge.sampling.tables import read_tables
from export.graph_nodes import Nodes

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


def placed(outer: Nodes, cond: str) -> str:
    """`export.edge.sampling.coordinates.with_coordinates`: the name of a cond of 5 channels."""
    shape = outer.add("Shape", "cond")
    zero, one, two = (outer.constant(f"axis_{axis}", np.array(axis, np.int64)) for axis in range(3))
    one_each = outer.constant("one_channel", np.array([1], np.int64))
    batch = outer.add("Gather", shape, outer.constant("batch_axis", np.array([0], np.int64)))
    sides = outer.add("Gather", shape, outer.constant("side_axes", np.array([2, 3], np.int64)))
    plane = outer.add("Concat", batch, one_each, sides, axis=0)
    channels = []
    for axis, others in ((2, [0, 1, 3]), (3, [0, 1, 2])):
        count = outer.add("Gather", shape, outer.constant(f"side_{axis}", np.array(axis, np.int64)))
        twice = outer.add("Add", outer.add("Mul", outer.add("Range", zero, count, one), two), one)
        real, whole = (outer.add("Cast", value, to=TensorProto.FLOAT) for value in (twice, count))
        centres = outer.add("Sub", outer.add("Div", real, whole), outer.add("Cast", one, to=TensorProto.FLOAT))
        line = outer.add("Unsqueeze", centres, outer.constant(f"others_{axis}", np.array(others, np.int64)))
        channels.append(outer.add("Expand", line, plane))
    return outer.add("Concat", cond, *channels, axis=1)


def timesteps(outer: Nodes, plan: Plan) -> str:
    """The timesteps, int64 (turns, 1), by `Plan.at` where there is a slider: the name.

    So shaped, a gathered row is already the vector of one that spreads over the batch.
    """
    if plan.mean_t is None:
        return outer.constant("timesteps", plan.t.astype(np.int64)[:, None])
    mean, way = (column.astype(np.float32)[:, None] for column in (plan.mean_t, plan.t - plan.mean_t))
    half = outer.constant("half_a_timestep", np.array(0.5, np.float32))
    limits = [outer.constant(f"realism_{value}", np.array(value, np.float32)) for value in (0, 1)]
    moved = outer.add("Mul", outer.add("Clip", "realism", *limits), outer.constant("way_from_mean", way))
    between = outer.add("Add", outer.add("Add", outer.constant("mean_timesteps", mean), moved), half)
    return outer.add("Cast", outer.add("Floor", between), to=TensorProto.INT64)
