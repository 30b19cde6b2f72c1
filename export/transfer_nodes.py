"""The network's small result carried to the photo's own pixels inside an ONNX graph (`export.edge.detail`)."""

from __future__ import annotations

import numpy as np

from export.edge.detail import EPSILON, RADIUS
from export.graph_values import Value, counted, joined, looped, vector
from export.resize_nodes import STRIP, Sides

GUIDE = range(3)
_PAIRS = [(i, j) for i in GUIDE for j in GUIDE if i <= j]
"""The entries of a symmetric 3 x 3 matrix."""


def change_of_colour(guide: Value, result: Value) -> Value:
    """`export.edge.detail.change_of_colour` in levels: float32 (w, h, 4, 3).

    guide, result: float32 in [-1, 1], (3, h, w). For a colour of the photo, in levels, [..., :3, :] times it, summed
    over the third axis, plus [..., 3, :] is the new colour and half a level more.
    """
    pairs = [guide[i] * guide[j] for i, j in _PAIRS]
    products = [guide[i] * result for i in GUIDE]
    planes = joined(0, guide, result, *(p.call("Unsqueeze", vector(p.nodes, 0)) for p in pairs), *products)
    mean = _mean(planes)
    guide_mean, result_mean = mean.part(0, 3, 0), mean.part(3, 6, 0)
    spread = {}
    for place, (i, j) in enumerate(_PAIRS):
        entry = mean[6 + place] - guide_mean[i] * guide_mean[j]
        spread[i, j] = entry + EPSILON if i == j else entry
    with_result = [mean.part(12 + 3 * i, 15 + 3 * i, 0) - guide_mean[i] * result_mean for i in GUIDE]
    slopes = _mean(joined(0, *_solved(spread, with_result)))
    parts = [slopes.part(3 * i, 3 * i + 3, 0) for i in GUIDE]
    offset, total = result, parts[0] + parts[1] + parts[2]
    for i in GUIDE:
        offset = offset - parts[i] * guide[i]
    offset = (offset - total) * 127.5 + 128.0
    sides = offset.shape()
    return joined(0, slopes, offset).reshape(4, 3, sides[1], sides[2]).transpose(3, 2, 0, 1)


def _mean(planes: Value) -> Value:
    """The mean over windows, (planes, h, w) to the same; borders are repeated outwards."""
    borders = vector(planes.nodes, 0, 0, RADIUS, RADIUS, 0, 0, RADIUS, RADIUS)
    whole = planes.call("Unsqueeze", vector(planes.nodes, 0))
    wide = Value(whole.nodes, whole.nodes.add("Pad", whole.name, borders.name, mode="edge"), whole.kind)
    side = 2 * RADIUS + 1
    return wide.call("AveragePool", kernel_shape=[side, side]).call("Squeeze", vector(planes.nodes, 0))


def _solved(matrix: dict[tuple[int, int], Value], right: list[Value]) -> list[Value]:
    """x of matrix x = right at every pixel, for a symmetric, positive definite matrix: elimination, then backwards."""
    rows = {key: value for (i, j), value in matrix.items() for key in ((i, j), (j, i))}
    sides = list(right)
    for pivot in GUIDE:
        for below in range(pivot + 1, 3):
            factor = rows[below, pivot] / rows[pivot, pivot]
            for column in range(pivot, 3):
                rows[below, column] = rows[below, column] - factor * rows[pivot, column]
            sides[below] = sides[below] - factor * sides[pivot]
    for row in reversed(GUIDE):
        for after in range(row + 1, 3):
            sides[row] = sides[row] - rows[row, after] * sides[after]
        sides[row] = sides[row] / rows[row, row]
    return sides


def applied(change: Value, small: Sides, photo: Value, sides: Sides) -> Value:
    """`export.edge.recolour.apply`: the photo, uint8 (height, width, 3), in its new colours, by strips of rows.

    change: as `change_of_colour` gives it, for a picture of the sides `small`.
    """
    strip = (sides.height.like(STRIP) // sides.width).max(1).min(sides.height)
    turns = (sides.height + strip - 1) // strip
    place, left = _between(counted(sides.width), sides.width, small.width)
    across = (place - left.to(np.float64)).to(np.float32)
    right = (left + 1).min(small.width - 1)

    def turn(number: Value) -> Value:
        nodes = number.nodes
        lines, own, few = strip.inside(nodes), sides.inside(nodes), small.inside(nodes)
        rows = (counted(lines) + number * lines).min(own.height - 1)
        colours = photo.inside(nodes)[rows].transpose(0, 2, 1).to(np.float32)
        place, above = _between(rows, own.height, few.height)
        first, end = above[0], (above[lines - 1] + 2).min(few.height)
        near, height = change.inside(nodes).part(first, end, 1), end - first
        here, there = near[left.inside(nodes)], near[right.inside(nodes)]
        wide = (here + (there - here) * across.inside(nodes).reshape(-1, 1, 1, 1)).transpose(2, 1, 3, 0)
        known = (counted(height) + first).to(np.float64)
        gap = (place.reshape(lines, 1) - known).call("Abs").to(np.float32)
        down = (gap.like(1.0) - gap).max(0.0)

        def at(term: int) -> Value:
            """One of the four terms at the strip's own pixels, (lines, 3, width)."""
            return down.matmul(wide[term].reshape(height, own.width * 3)).reshape(lines, 3, own.width)

        total = at(3)
        for channel in GUIDE:
            total = total + at(channel) * colours.part(channel, channel + 1, 1)
        return total.call("Clip", 0.0, 255.0).to(np.uint8).transpose(0, 2, 1)

    changed = looped(photo.nodes, "apply", turns, turn).reshape(-1, sides.width, 3)
    return changed.part(0, sides.height, 0)


def _between(pixels: Value, size: Value, small: Value) -> tuple[Value, Value]:
    """Where pixels of `size` lie among `small` ones, float64, and the one of these before that place."""
    place = (pixels.to(np.float64) + 0.5) * small.to(np.float64) / size.to(np.float64) - 0.5
    place = place.max(0.0).min(small.to(np.float64) - 1.0)
    return place, place.to(np.int64)
