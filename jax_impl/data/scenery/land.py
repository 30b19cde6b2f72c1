"""What the light falls on: clouds, ridges, water and meadow, as fields that do not depend on the hour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jax_impl.data.scenery.noise import Table, fbm, fbm_two_scales, profile, smoothstep


@dataclass(frozen=True)
class Ridge:
    """One line of hills or mountains. Heights and lengths in picture heights."""

    line: float
    """Which line through the noise the skyline follows."""
    crest: float
    """Height of the middle of the skyline above the shore."""
    relief: float
    """How far the skyline swings about `crest`."""
    frequency: float
    """Large swells across the picture."""
    sharp: float
    """0 for rolling hills, 1 for jagged peaks."""
    distance: float
    """How much of the ridge the air hides, 0 near to 1 gone."""
    forest: float
    """Height of the trees along the crest; 0 for bare rock."""
    snow: float
    """Height above the shore where snow begins; 1 for none."""


@dataclass(frozen=True)
class RidgeField:
    """A ridge on the pixel grid: coverage (rows, width), slope to the right and upward share, first row it touches."""

    top: int
    cover: np.ndarray
    slope: np.ndarray
    height: np.ndarray
    snow: np.ndarray
    skyline: np.ndarray


def skyline(ridge: Ridge, x: np.ndarray, table: Table) -> np.ndarray:
    """Height of the ridge above the shore at x (picture heights), with its trees."""
    swell = profile(x * np.float32(ridge.frequency), table, ridge.line, 7, 0.47 + 0.06 * ridge.sharp, ridge.sharp)
    height = ridge.crest + ridge.relief * swell
    if ridge.forest > 0.0:
        height = height + _tree_line(x, ridge, table)
    return np.maximum(height, 0.004)


def _tree_line(x: np.ndarray, ridge: Ridge, table: Table) -> np.ndarray:
    """Crowns along a crest: three rows of pointed teeth of uneven height, the tallest wins."""
    best = np.zeros_like(x)
    for row in range(3):
        pitch = ridge.forest * (0.42 + 0.13 * row)
        place = x / np.float32(pitch) + np.float32(0.37 * row)
        tree = np.floor(place)
        chance = table.real.take((tree.astype(np.int64) * 7 + 131 * row + int(ridge.line)) & 4095)
        shift = 0.5 + 0.3 * table.imag.take((tree.astype(np.int64) * 7 + 131 * row + int(ridge.line)) & 4095)
        tooth = np.maximum(1.0 - np.abs(place - tree - shift) * 2.4, 0.0) ** np.float32(0.8)
        best = np.maximum(best, tooth * (0.55 + 0.45 * chance))
    return np.float32(ridge.forest) * (0.25 + best)


def ridge_field(ridge: Ridge, shore: float, size: int, table: Table) -> RidgeField:
    """Put a ridge on the pixel grid; its edge is as soft as a pixel and as the skyline inside one column."""
    columns = 8 if size <= 128 else 4
    fine = ((np.arange(size * columns) + 0.5) / (size * columns)).astype(np.float32)
    tops = shore - skyline(ridge, fine, table).reshape(size, columns)
    mean, spread = tops.mean(axis=1), tops.max(axis=1) - tops.min(axis=1)
    top = max(int(np.floor(tops.min() * size)) - 1, 0)
    y = ((np.arange(top, size) + 0.5) / size).astype(np.float32)[:, None]
    cover = np.clip((y - mean) / (1.0 / size + 0.8 * spread) + 0.5, 0.0, 1.0).astype(np.float32)
    bottom = min(int(np.ceil(shore * size)) + 1, size)
    x = ((np.arange(size) + 0.5) / size).astype(np.float32)[None, :]
    height = np.maximum(shore - y[: bottom - top], 0.0)
    scale = np.float32(ridge.frequency * 2.6)
    px, py = x * scale + np.float32(ridge.line), y[: bottom - top] * scale * np.float32(0.8) + np.float32(3.0)
    # Gullies run down the slope: the relief is sampled along lines that lean with the height.
    px = px + np.float32(0.3 * np.sign(np.sin(ridge.line * 7.0))) * py
    footprint = float(scale) / size
    here = fbm(px, py, table, 5, footprint, gain=0.6, billow=ridge.sharp)
    slope = np.gradient(here, axis=1) * np.float32(0.2 * size / scale)
    snow = smoothstep(ridge.snow, ridge.snow + 0.05, height + 0.07 * here - 0.02 * np.abs(slope))
    return RidgeField(top, cover[: bottom - top], slope, height, snow, mean)


@dataclass(frozen=True)
class CloudField:
    """Clouds on the pixel grid: density in [0, 1] and the way it grows, (rows, width), rows from the top."""

    density: np.ndarray
    grow_x: np.ndarray
    grow_y: np.ndarray


@dataclass(frozen=True)
class Deck:
    """The form of a layer of cloud."""

    scale: float
    """Swells across the picture at its top."""
    stretch: float
    """How long they are across the view."""
    cover: float
    """Share of the sky."""
    billow: float
    """0 for veils to 1 for heaps."""
    lean: float
    """The drift."""


def cloud_field(shore: float, size: int, table: Table, deck: Deck) -> CloudField:
    """A layer of cloud on a plane overhead, seen in perspective: fractal noise bent by slower noise."""
    rows = min(int(np.ceil(shore * size)) + 1, size)
    x = ((np.arange(size) + 0.5) / size).astype(np.float32)[None, :]
    up = np.maximum(shore - ((np.arange(rows) + 0.5) / size).astype(np.float32)[:, None], 0.0)
    far = 1.0 / (up + np.float32(0.075))
    u = (x - 0.5) * far * np.float32(deck.scale / deck.stretch) + np.float32(deck.lean) * far
    v = far * np.float32(deck.scale)
    footprint = far * far * np.float32(deck.scale / size) * np.float32(0.7)
    bend = fbm(u * 0.7 + 31.0, v * 0.7, table, 2, footprint * 0.7)
    u, v = u + 0.3 * bend, v + 0.25 * bend
    noise, base = fbm_two_scales((u, v), table, 6, 3, footprint, gain=0.55, billow=deck.billow)
    edge = 0.38 - 0.8 * deck.cover
    density = smoothstep(edge - 0.1, edge + 0.42, noise) * smoothstep(0.0, 0.05, up)
    grow_y, grow_x = np.gradient(base)
    return CloudField(density, grow_x * np.float32(size), grow_y * np.float32(size))


@dataclass(frozen=True)
class GroundField:
    """Everything below the shore, (rows, width): its first row, depth 0 far to 1 near, waves, tufts, share of water."""

    top: int
    depth: np.ndarray
    wave: np.ndarray
    chop: np.ndarray
    texture: np.ndarray
    water: np.ndarray


def ground_field(shore: float, size: int, table: Table, kind: str, bend: tuple[float, float, float]) -> GroundField:
    """The plane at our feet in perspective; `kind` says whether it is water, meadow or a stream through a meadow."""
    top = min(int(np.floor(shore * size)), size - 1)
    y = ((np.arange(top, size) + 0.5) / size).astype(np.float32)[:, None]
    x = ((np.arange(size) + 0.5) / size).astype(np.float32)[None, :]
    depth = np.clip((y - shore) / (1.0 - shore), 0.0, 1.0)
    far = 1.0 / (depth + np.float32(0.05))
    step = far * far / np.float32(size * (1.0 - shore))
    across = (x - 0.5) * far
    shape = np.broadcast_shapes(depth.shape, x.shape)
    wave = chop = np.zeros(shape, np.float32)
    if kind != "meadow":
        wave = fbm(across * 2.2 + 5.0, far * 6.0, table, 4, step * 5.0, gain=0.6)
        chop = fbm(across * 7.0 + 11.0, far * 26.0 + 3.0, table, 3, step * 14.0, gain=0.7)
    below = smoothstep(-0.5, 0.5, (y - shore) * size)
    if kind == "water":
        return GroundField(top, depth, wave, chop, np.zeros(shape, np.float32), np.broadcast_to(below, shape))
    # The logarithm of the distance keeps tufts as tall as they are wide: grass stands up from the plane.
    texture = fbm(across * 3.0 + 7.0, np.log(far) * 4.5, table, 7, far * np.float32(3.5 / size), gain=0.75)
    water = np.zeros(shape, np.float32)
    if kind == "stream":
        where, swing, turns = bend
        path = where + swing * np.sin(turns / (depth + 0.25)) * (0.25 + depth)
        half = 0.012 + 0.2 * depth**1.3 + 0.02 * texture * (0.1 + depth)
        edge = 1.2 / size + 0.01 * depth
        water = smoothstep(1.0, -1.0, (np.abs(x - path) - half) / edge) * below
    return GroundField(top, depth, wave, chop, texture, water)
