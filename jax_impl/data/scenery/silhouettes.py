"""Things that stand dark against the light: trees, reeds, grass, a hut, a boat, birds; all of them convex quads."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

Quads = np.ndarray
"""float64 (count, 4, 2): corners in order as (x, y), picture coordinates in [0, 1], y downwards."""


def coverage(quads: Quads, size: int) -> np.ndarray:
    """Share of every pixel covered by the union of convex quads, float32 (size, size).

    Scan conversion on a grid of subpixels, 512 to a side or more: each quad leaves a +1
    where it begins on a line and a -1 where it ends; the running sum is positive inside.
    """
    share = np.zeros((size, size), np.float32)
    if len(quads) == 0:
        return share
    factor = max(2, -(-512 // size))
    # Only the pixels around the quads are worked on.
    low = np.clip(np.floor(quads.min(axis=(0, 1)) * size), 0, size).astype(int)
    high = np.clip(np.ceil(quads.max(axis=(0, 1)) * size), 0, size).astype(int)
    width, height = (int(n) for n in np.maximum(high - low, 0))
    if width == 0 or height == 0:
        return share
    row, begin, end = _spans((quads * size - low) * factor - 0.5, width * factor, height * factor)
    stride = width * factor + 1
    cells = height * factor * stride
    change = np.bincount(row * stride + begin, minlength=cells) - np.bincount(row * stride + end, minlength=cells)
    inside = np.cumsum(change.reshape(-1, stride)[:, :-1], axis=1, dtype=np.int32) > 0
    lines = inside.view(np.uint8).reshape(height, factor, width * factor).sum(axis=1, dtype=np.uint8)
    tiles = lines.reshape(height, width, factor).sum(axis=2, dtype=np.float32) * np.float32(1.0 / factor**2)
    share[low[1] : high[1], low[0] : high[0]] = tiles
    return share


def _spans(points: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For every line that a convex quad crosses: the line, the first subpixel inside, the first one past it."""
    first = np.clip(np.ceil(points[:, :, 1].min(axis=1)), 0, height).astype(np.int64)
    last = np.clip(np.floor(points[:, :, 1].max(axis=1)), -1, height - 1).astype(np.int64)
    count = np.maximum(last - first + 1, 0)
    which = np.repeat(np.arange(len(points)), count)
    row = np.arange(len(which)) - (np.cumsum(count) - count - first)[which]
    low, high = np.full(len(which), np.inf), np.full(len(which), -np.inf)
    ends = np.roll(points, -1, axis=1)
    rise = ends[:, :, 1] - points[:, :, 1]
    slope = (ends[:, :, 0] - points[:, :, 0]) / np.where(rise == 0.0, np.inf, rise)
    for edge in range(4):
        y0, y1 = points[which, edge, 1], ends[which, edge, 1]
        crossing = points[which, edge, 0] + slope[which, edge] * (row - y0)
        crosses = (np.minimum(y0, y1) <= row) & (row <= np.maximum(y0, y1)) & (y0 != y1)
        low = np.where(crosses, np.minimum(low, crossing), low)
        high = np.where(crosses, np.maximum(high, crossing), high)
    kept = high >= low
    begin = np.clip(np.ceil(low[kept]), 0, width).astype(np.int64)
    end = np.clip(np.floor(high[kept]) + 1, 0, width).astype(np.int64)
    return row[kept], begin, np.maximum(end, begin)


def stroke(start: np.ndarray, end: np.ndarray, width_start: ArrayLike, width_end: ArrayLike) -> Quads:
    """Tapered strokes from `start` to `end` (count, 2) with the full widths at both ends (count,)."""
    along = end - start
    length = np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9)[:, None]
    across = np.stack([-along[:, 1], along[:, 0]], axis=1) / length * 0.5
    a, b = across * np.asarray(width_start)[:, None], across * np.asarray(width_end)[:, None]
    return np.stack([start + a, end + b, end - b, start - a], axis=1)


def conifer(rng: np.random.Generator, x: float, base: float, height: float) -> Quads:
    """A spruce: a trunk and drooping boughs that shorten towards the top."""
    count = int(26 + 60 * height)
    level = np.linspace(0.05, 0.95, count) + rng.normal(0.0, 0.006, count)
    slim = rng.uniform(0.15, 0.24)
    tilt = rng.normal(0.0, 0.015)
    quads = [stroke(np.array([[x, base]]), np.array([[x + tilt * height, base - height]]), [0.035 * height], [0.001])]
    for side in (-1.0, 1.0):
        reach = height * slim * level**0.8 * rng.uniform(0.55, 1.1, count) * (1.0 + 0.18 * np.sin(level * 23.0))
        y = base - height * (1.0 - level)
        axis = x + tilt * height * (1.0 - level)
        drop = reach * rng.uniform(0.1, 0.55, count)
        thick = height * 0.04 * (0.3 + level)
        core = 0.012 * height * level
        root = np.stack([axis - side * core, y - thick], axis=1)
        tip = np.stack([axis + side * reach, y + drop], axis=1)
        under = np.stack([axis + side * reach * 0.45, y + drop * 0.75 + thick * 0.15], axis=1)
        foot = np.stack([axis - side * core, y + thick * 0.5], axis=1)
        quads.append(np.stack([root, tip, under, foot], axis=1))
    return np.concatenate(quads)


def broadleaf(rng: np.random.Generator, x: float, base: float, height: float, leaves: int) -> Quads:
    """A branching tree: every limb splits in two, seven times; `leaves` around every twig, 0 for winter."""
    start = np.array([[x, base]])
    angle = np.array([np.pi / 2 + rng.normal(0.0, 0.08)])
    length, width = np.array([height * 0.27]), np.array([height * 0.05])
    quads = []
    twigs = 7
    for generation in range(twigs + 1):
        bend = start + (length * 0.55)[:, None] * np.stack([np.cos(angle), -np.sin(angle)], axis=1)
        turn = angle + rng.normal(0.0, 0.14, len(angle))
        end = bend + (length * 0.5)[:, None] * np.stack([np.cos(turn), -np.sin(turn)], axis=1)
        quads += [stroke(start, bend, width, width * 0.85), stroke(bend, end, width * 0.88, width * 0.68)]
        if generation == twigs:
            if leaves:
                quads.append(_foliage(rng, end, height, leaves))
            break
        spread = rng.uniform(0.18, 0.55, (2, len(angle)))
        lift = 0.16 * (np.pi / 2 - turn)  # twigs turn back to the light
        angle = np.concatenate([turn + spread[0] + lift, turn - spread[1] + lift])
        start = np.concatenate([end, end])
        length = np.concatenate([length, length]) * rng.uniform(0.68, 0.9, len(angle))
        width = np.concatenate([width, width]) * 0.66
    return np.concatenate(quads)


def _foliage(rng: np.random.Generator, twigs: np.ndarray, height: float, leaves: int) -> Quads:
    """A cloud of small leaves around every twig (count, 2)."""
    twigs = np.repeat(twigs, leaves, axis=0)
    turn = rng.uniform(0.0, 2 * np.pi, (len(twigs), 1))
    away = 0.075 * height * rng.random((len(twigs), 1)) ** 0.7
    centre = twigs + away * np.concatenate([np.cos(turn), 0.8 * np.sin(turn)], axis=1)
    turn = rng.uniform(0.0, np.pi / 2, len(centre))
    corner = turn[:, None] + np.arange(4) * (np.pi / 2)
    reach = 0.0085 * height * rng.uniform(0.6, 1.3, (len(centre), 1))
    return centre[:, None, :] + reach[:, :, None] * np.stack([np.cos(corner), np.sin(corner)], axis=2)


def blades(rng: np.random.Generator, x: np.ndarray, base: np.ndarray, height: float, width: float) -> Quads:
    """Grass: one bent blade at every foot (x, base), of about `height`."""
    tall = height * rng.uniform(0.35, 1.2, len(x))
    lean = tall * rng.normal(0.12, 0.3, len(x))
    foot = np.stack([x, base + 0.25 * height], axis=1)
    knee = np.stack([x + 0.35 * lean, base - 0.6 * tall], axis=1)
    tip = np.stack([x + lean, base - tall], axis=1)
    wide = np.full(len(x), width)
    return np.concatenate([stroke(foot, knee, wide, wide * 0.75), stroke(knee, tip, wide * 0.75, wide * 0.2)])


def reeds(rng: np.random.Generator, x: np.ndarray, base: np.ndarray, height: float) -> Quads:
    """Reed mace: long stems, some with a cob, with narrow leaves between them."""
    count = len(x)
    tall = height * rng.uniform(0.6, 1.15, count)
    lean = tall * rng.normal(0.05, 0.09, count)
    foot = np.stack([x, base + 0.02], axis=1)
    tip = np.stack([x + lean, base - tall], axis=1)
    stem = np.full(count, 0.0032)
    quads = [stroke(foot, tip, stem, stem * 0.6)]
    cob = rng.random(count) < 0.55
    along = tip[cob] - foot[cob]
    thick = np.full(int(cob.sum()), 0.0105) * height / 0.22
    low, high = foot[cob] + 0.80 * along, foot[cob] + 0.94 * along
    middle = 0.5 * (low + high)
    quads += [stroke(low, middle, thick * 0.8, thick), stroke(middle, high, thick, thick * 0.75)]
    x = np.repeat(x, 3) + rng.normal(0.0, 0.012, 3 * count)
    quads.append(blades(rng, x, np.repeat(base, 3), 0.7 * height, 0.005))
    return np.concatenate(quads)


def box(left: float, top: float, right: float, bottom: float) -> Quads:
    """An upright rectangle as one quad."""
    return np.array([[[left, top], [right, top], [right, bottom], [left, bottom]]])


def hut(x: float, base: float, width: float) -> tuple[Quads, Quads]:
    """A cabin and, apart from it, its lit window."""
    tall = 0.55 * width
    roof = np.array(
        [[[x - 0.62 * width, base - tall], [x - 0.1 * width, base - 1.02 * tall - 0.36 * width],
          [x + 0.1 * width, base - 1.02 * tall - 0.36 * width], [x + 0.62 * width, base - tall]]]
    )  # fmt: skip
    chimney = box(x + 0.22 * width, base - tall - 0.42 * width, x + 0.33 * width, base - tall)
    walls = box(x - 0.5 * width, base - tall, x + 0.5 * width, base + 0.1 * width)
    window = box(x - 0.3 * width, base - 0.78 * tall, x - 0.08 * width, base - 0.38 * tall)
    return np.concatenate([walls, roof, chimney]), window


def boat(x: float, waterline: float, width: float) -> Quads:
    """A rowing boat with a seated figure and a rod."""
    half, deep = 0.5 * width, 0.13 * width
    hull = np.array(
        [[[x - half, waterline - deep], [x + half, waterline - 1.15 * deep],
          [x + 0.72 * half, waterline + 0.5 * deep], [x - 0.75 * half, waterline + 0.5 * deep]]]
    )  # fmt: skip
    body = np.array(
        [[[x - 0.13 * width, waterline - deep], [x - 0.08 * width, waterline - 0.36 * width],
          [x + 0.02 * width, waterline - 0.36 * width], [x + 0.09 * width, waterline - deep]]]
    )  # fmt: skip
    head = np.array([x - 0.025 * width, waterline - 0.43 * width]) + 0.062 * width * np.array(
        [[[-0.7, -0.7], [0.7, -0.7], [0.7, 0.7], [-0.7, 0.7]], [[0, -1], [1, 0], [0, 1], [-1, 0]]]
    )
    rod = stroke(
        np.array([[x + 0.02 * width, waterline - 0.22 * width]]),
        np.array([[x + 0.62 * width, waterline - 0.52 * width]]),
        [0.014 * width],
        [0.008 * width],
    )
    return np.concatenate([hull, body, head, rod])


def jetty(x: float, waterline: float, length: float, towards: float) -> Quads:
    """A landing stage on posts, reaching out from x to the side `towards` (-1 or 1)."""
    tip = x + towards * length
    left, right = min(x, tip), max(x, tip)
    posts = [box(p - 0.004, waterline - 0.035, p + 0.004, waterline + 0.022) for p in np.linspace(left, right, 6)]
    return np.concatenate([box(left - 0.01, waterline - 0.02, right + 0.01, waterline - 0.009), *posts])


def mirror(quads: Quads, waterline: float) -> Quads:
    """The reflection in still water at height `waterline`."""
    return np.stack([quads[:, ::-1, 0], 2.0 * waterline - quads[:, ::-1, 1]], axis=2)


def birds(rng: np.random.Generator, x: float, y: float, count: int) -> Quads:
    """A loose flight of birds, two bent wings each."""
    centre = np.stack([x + rng.normal(0, 0.06, count), y + rng.normal(0, 0.025, count)], axis=1)
    span = rng.uniform(0.007, 0.013, count)
    lift = rng.uniform(-0.2, 0.75, count)
    wide = 0.22 * span
    quads = []
    for side in (-1.0, 1.0):
        elbow = centre + np.stack([side * 0.5 * span, -lift * 0.6 * span], axis=1)
        tip = centre + np.stack([side * span, -lift * 0.35 * span], axis=1)
        quads += [stroke(centre, elbow, wide, wide * 0.9), stroke(elbow, tip, wide * 0.9, wide * 0.2)]
    return np.concatenate(quads)
