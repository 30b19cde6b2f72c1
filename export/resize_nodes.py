"""A photo brought to a network's size inside an ONNX graph, as `export.edge.pictures.arrays.working` does it.

A photo of any size is read by strips, so in addition to its bytes memory is needed for a strip and for a few times the
small picture. Pictures are uint8 (height, width, 3), and equal those of Pillow 13 to the last level.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from export.edge.pictures.arrays import MOST_WORKING, PAD, REDUCING_GAP
from export.graph_nodes import Nodes
from export.graph_values import Value, chosen, constant, counted, looped, vector

STRIP = 2**18
"""Pixels of a strip, or a row of the photo where that has more."""
REAL = np.float64
WHOLE = 2.0**22
"""Pillow's unit of a weight: its sums of weights and levels are whole numbers, which float64 holds."""
LOBES = 3
"""Of Lanczos' kernel."""


@dataclass(frozen=True)
class Sides:
    """Height and width, int64 numbers of a graph."""

    height: Value
    width: Value

    def pixels(self) -> Value:
        return self.height * self.width

    def along(self, axis: int) -> Value:
        return self.width if axis else self.height

    def inside(self, nodes: Nodes) -> Sides:
        return Sides(self.height.inside(nodes), self.width.inside(nodes))


@dataclass(frozen=True)
class Plan:
    """Where a photo comes to lie in the picture that the network sees."""

    working: Sides
    """Of that picture."""
    covered: Sides
    """Of the part of it that the photo covers."""
    top: Value | None = None
    left: Value | None = None
    """Where that part begins; None where it is the whole."""


def planned(photo: Sides, size: int, fit: str, multiple: int) -> Plan:
    """`working_sides`, and for letterbox the part without bars."""
    nodes, floor = photo.height.nodes, float(multiple)

    def to_multiple(value: Value) -> Value:
        return (value / floor + 0.5).to(np.int64).max(1) * multiple

    if fit != "crop":
        side = constant(nodes, np.array(max(1, int(size / multiple + 0.5)) * multiple, np.int64))
        square = Sides(side, side)
        if fit == "stretch":
            return Plan(square, square)
        scale = side.to(REAL) / photo.height.max(photo.width).to(REAL)
        inner = Sides(*((s.to(REAL) * scale).call("Round").to(np.int64).max(1) for s in (photo.height, photo.width)))
        return Plan(square, inner, (side - inner.height) // 2, (side - inner.width) // 2)
    limit = MOST_WORKING * size * size
    least, most = photo.height.min(photo.width), photo.height.max(photo.width)
    fill = least.to(REAL).like(size) / least.to(REAL)
    room = least.to(REAL).like(limit) / photo.pixels().to(REAL)
    short = to_multiple(least.to(REAL) * fill.min(room.call("Sqrt")))
    long = to_multiple((most * short).to(REAL) / least.to(REAL))
    longest = (short.like(limit) // short // multiple * multiple).max(multiple)
    long = long.min(longest)
    tall = photo.width < photo.height
    height, width = (tall.call("Where", *pair, kind=np.int64) for pair in ((long, short), (short, long)))
    whole = Sides(height, width)
    return Plan(whole, whole)


def working(photo: Value, sides: Sides, plan: Plan, fit: str) -> Value:
    """The photo, uint8 (height, width, 3), as the network sees it."""
    inner = reduced(photo, sides, plan.covered, blocks=fit == "crop")
    if plan.top is None or plan.left is None:
        return inner
    below = plan.working.height - plan.covered.height - plan.top
    right = plan.working.width - plan.covered.width - plan.left
    bars = vector(photo.nodes, plan.top, plan.left, 0, below, right, 0)
    return inner.call("Pad", bars, PAD)


def reduced(photo: Value, sides: Sides, to: Sides, *, blocks: bool) -> Value:
    """`resize`; with `blocks` a far larger one is first averaged over blocks, as by Pillow's reducing_gap."""
    if not blocks:
        return resized(photo, Extent(sides), to)
    pairs = ((sides.height, to.height), (sides.width, to.width))
    factors = Sides(*((big.to(REAL) / small.to(REAL) / REDUCING_GAP).to(np.int64).max(1) for big, small in pairs))
    means, few = _averaged(photo, sides, factors)
    return resized(means, Extent(few, sides, factors), to)


def _averaged(photo: Value, sides: Sides, by: Sides) -> tuple[Value, Sides]:
    """The means of blocks of by.height x by.width pixels, and of what is left of one at the right and lower edges.

    With the sides of the picture that they make.

    In Pillow's arithmetic, to the last level: sums of levels are exact, and its integers are in float64.
    """
    rows, columns = ((a + b - 1) // b for a, b in ((sides.height, by.height), (sides.width, by.width)))
    strip = (rows.like(STRIP) // (sides.width * by.height)).max(1).min(rows)

    def turn(number: Value) -> Value:
        nodes = number.nodes
        lines, few, own, block = strip.inside(nodes), columns.inside(nodes), sides.inside(nodes), by.inside(nodes)
        place = counted(lines * block.height) + number * lines * block.height
        down = (place < own.height).to(np.float32).reshape(lines, 1, block.height)
        part = photo.inside(nodes)[place.min(own.height - 1)].to(np.float32)
        sums = down.matmul(part.reshape(lines, block.height, own.width * 3)).reshape(lines, own.width, 3)
        place = counted(few * block.width)
        across = (place < own.width).to(np.float32).reshape(few, 1, block.width)
        sums = sums.transpose(1, 0, 2)[place.min(own.width - 1)].reshape(few, block.width, lines * 3)
        sums = across.matmul(sums).reshape(few, lines, 3).to(REAL)
        count = down.total(2).max(1.0).to(REAL).reshape(1, lines, 1) * across.total(2).to(REAL).reshape(few, 1, 1)
        # As there: with a multiplier in place of a division.
        multiplier = (count.like(2.0**24) / count).to(np.float32).to(REAL).floor()
        levels = ((sums + (count / 2.0).floor()) * multiplier) / 2.0**24
        return levels.floor().to(np.uint8).transpose(1, 0, 2)

    means = looped(photo.nodes, "blocks", (rows + strip - 1) // strip, turn)
    return means.reshape(-1, columns, 3).part(0, rows, 0), Sides(rows, columns)


@dataclass(frozen=True)
class Extent:
    """The sides of a picture that is another one averaged over blocks, or, without `whole` and `by`, is any."""

    sides: Sides
    whole: Sides | None = None
    """Of that other one."""
    by: Sides | None = None

    def along(self, axis: int, nodes: Nodes) -> tuple[Value, Value]:
        """The side of an axis, and how much of it counts, float64: of the last row or column perhaps a part alone."""
        side = self.sides.along(axis).inside(nodes)
        if self.whole is None or self.by is None:
            return side, side.to(REAL)
        length = self.whole.along(axis).inside(nodes).to(REAL) / self.by.along(axis).inside(nodes).to(REAL)
        return side, length.to(np.float32).to(REAL)  # Pillow hands it on in float32.


def resized(picture: Value, extent: Extent, to: Sides) -> Value:
    """`export.edge.pictures.arrays.resize` of a picture, uint8 (height, width, 3), to the last level."""
    own = extent.sides
    lost = own.height - to.height
    columns_first = (lost.like(0) < lost).call("And", (own.width - to.width) * 2 < lost)

    def ordered(nodes: Nodes, axes: tuple[int, int]) -> Value:
        """Both passes; what lies along the other axis is still old in the first and new in the second."""
        values = picture.inside(nodes)
        for axis, others in zip(axes, (own, to), strict=True):
            window = _window(*extent.along(axis, nodes), to.along(axis).inside(nodes))
            values = _filtered(values, others.along(1 - axis).inside(nodes), window, axis)
        return values

    return chosen(columns_first, lambda nodes: ordered(nodes, (0, 1)), lambda nodes: ordered(nodes, (1, 0)), "order")


@dataclass(frozen=True)
class Window:
    """For each new pixel the old ones that it is made of."""

    places: Value
    """int64 (new, taps)"""
    weights: Value
    """float64 (new, 1, taps), whole numbers: WHOLE is one."""
    size: Value
    """old"""
    count: Value
    """new"""

    def inside(self, nodes: Nodes) -> Window:
        return Window(*(getattr(self, field.name).inside(nodes) for field in fields(self)))


def _window(size: Value, length: Value, to: Value) -> Window:
    """Lanczos' kernel, widened where the picture shrinks: from `size` pixels that are `length` long to `to` pixels."""
    scale = length / to.to(REAL)
    wide = scale.max(1.0)
    support = wide * LOBES
    taps = support.call("Ceil").to(np.int64) * 2 + 1
    centre = ((counted(to).to(REAL) + 0.5) * scale).reshape(to, 1)
    first = (centre - support + 0.5).max(0.0).to(np.int64)
    end = (centre + support + 0.5).to(np.int64).min(size)
    places = first + counted(taps)
    away = ((places.to(REAL) - centre + 0.5) / wide).call("Abs")
    inside = (away < float(LOBES)).call("And", places < end).to(REAL)
    # Where the sinc is 0 / 0 its angle is a little off.
    angle = away.max(1e-9) * np.pi
    third = angle / float(LOBES)
    weights = angle.call("Sin") * third.call("Sin") / (angle * third) * inside
    weights = weights / weights.total(1).reshape(-1, 1)
    weights = (weights * WHOLE + 0.5).floor()
    return Window(places.min(size - 1), weights.reshape(to, 1, taps), size, to)


def _filtered(picture: Value, other: Value, window: Window, axis: int) -> Value:
    """One pass along an axis, by strips of the `other` one, a number of pixels; uint8 (height, width, 3)."""
    strip = (other.like(STRIP // 4) // window.size).max(1).min(other)

    def turn(number: Value) -> Value:
        nodes = number.nodes
        lines, by = strip.inside(nodes), window.inside(nodes)
        place = (counted(lines) + number * lines).min(other.inside(nodes) - 1)
        part = picture.inside(nodes).call("Gather", place, axis=1 - axis).to(REAL)
        part = part if axis == 0 else part.transpose(1, 0, 2)
        taken = part.reshape(by.size, lines * 3)[by.places]
        levels = by.weights.matmul(taken) / WHOLE + 0.5
        return levels.floor().call("Clip", 0.0, 255.0).to(np.uint8).reshape(by.count, lines, 3)

    made = looped(picture.nodes, f"axis{axis}", (other + strip - 1) // strip, turn)
    # For onnx.reference too, which joins what the turns give along its first axis and adds none.
    made = made.reshape(-1, window.count, strip, 3)
    if axis == 0:
        return made.transpose(1, 0, 2, 3).reshape(window.count, -1, 3).part(0, other, 1)
    return made.transpose(0, 2, 1, 3).reshape(-1, window.count, 3).part(0, other, 0)
