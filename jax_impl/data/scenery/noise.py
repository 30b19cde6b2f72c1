"""Gradient noise and its fractal sum, band-limited to the pixel so that every picture size shows the same scene."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.complex64]
"""The gradients of the lattice, unit vectors as complex numbers (LATTICE * LATTICE,)."""

LATTICE = 64
"""Side of the table of random gradients; the noise repeats after this many cells."""

_TURN = np.exp(1j * 0.65)  # each octave is turned by 0.65 rad, which hides the lattice


def smoothstep(low: float, high: float, value: np.ndarray) -> np.ndarray:
    """0 below `low`, 1 above `high`, a cubic in between; `low` may lie above `high`."""
    share = np.clip((value - low) * (1.0 / (high - low)), 0.0, 1.0)
    return share * share * (3.0 - 2.0 * share)


def gradient_table(rng: np.random.Generator) -> Table:
    """Draw a gradient for every lattice point."""
    angle = rng.random(LATTICE * LATTICE) * 2 * np.pi
    return np.exp(1j * angle).astype(np.complex64)


def gradient_noise(x: np.ndarray, y: np.ndarray, table: Table) -> np.ndarray:
    """Perlin's gradient noise with the quintic fade (Perlin 2002), roughly in [-1, 1], float32 like x."""
    x0, y0 = np.floor(x), np.floor(y)
    fx, fy = x - x0, y - y0
    column, row = x0.astype(np.int32), y0.astype(np.int32)
    left, right = column & (LATTICE - 1), (column + 1) & (LATTICE - 1)
    top, bottom = (row & (LATTICE - 1)) * LATTICE, ((row + 1) & (LATTICE - 1)) * LATTICE

    def corner(index: np.ndarray, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
        gradient = table.take(index)
        return gradient.real * dx + gradient.imag * dy

    gx, gy = fx - 1.0, fy - 1.0
    wx = fx * fx * fx * (fx * (fx * 6.0 - 15.0) + 10.0)
    wy = fy * fy * fy * (fy * (fy * 6.0 - 15.0) + 10.0)
    a, b = corner(top + left, fx, fy), corner(top + right, gx, fy)
    c, d = corner(bottom + left, fx, gy), corner(bottom + right, gx, gy)
    upper = a + wx * (b - a)
    return 1.5 * (upper + wy * (c + wx * (d - c) - upper))


def fbm(
    x: np.ndarray,
    y: np.ndarray,
    table: Table,
    octaves: int,
    footprint: np.ndarray | float = 0.0,
    gain: float = 0.5,
    billow: float = 0.0,
) -> np.ndarray:
    """Fractal Brownian motion in one piece; see `fbm_two_scales`."""
    return fbm_two_scales((x, y), table, octaves, octaves, footprint, gain, billow)[0]


def fbm_two_scales(
    place: tuple[np.ndarray, np.ndarray],
    table: Table,
    octaves: int,
    coarse: int,
    footprint: np.ndarray | float = 0.0,
    gain: float = 0.5,
    billow: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Fractal Brownian motion: octaves of noise, each twice as fine and `gain` as strong, roughly in [-1, 1].

    `place` holds x and y. Returns the whole sum and that of the first `coarse` octaves alone.

    `footprint` is how far the coordinates move across one pixel: octaves finer than a
    pixel fade out instead of turning into grain. `billow` mixes in the folded noise
    1 - 2|n| (Perlin's turbulence), which rounds clouds and sharpens crests.
    """
    x, y = place
    total = np.zeros(np.broadcast_shapes(x.shape, y.shape), np.float32)
    rounding = np.float32(0.012)  # a sharp fold would draw lines where the light turns
    swell, norm, weight, frequency = total, 0.0, 1.0, 1.0
    for octave in range(octaves):
        fade = smoothstep(0.85, 0.3, np.asarray(footprint * frequency, np.float32))
        if np.any(fade > 0.0):
            layer = gradient_noise(x, y, table)
            if billow:
                folded = 1.0 - 2.0 * np.sqrt(layer * layer + rounding)
                layer = layer + billow * (folded - layer)
            total += np.float32(weight) * fade * layer
        if octave + 1 == coarse:
            swell = total.copy()
        norm += weight
        weight *= gain
        frequency *= 2.03
        step = 2.03 * _TURN
        shift = np.float32(17.31 + 5.7 * octave)
        x, y = (
            x * np.float32(step.real) - y * np.float32(step.imag) + shift,
            x * np.float32(step.imag) + y * np.float32(step.real) - shift,
        )
    return total * np.float32(1.0 / norm), swell * np.float32(1.0 / norm)


def profile(x: np.ndarray, table: Table, row: float, octaves: int, gain: float, ridged: float) -> np.ndarray:
    """A skyline: one line through the noise, `ridged` in [0, 1] from rolling hills to sharp crests; roughly [-1, 1]."""
    total = np.zeros_like(x)
    norm, weight = 0.0, 1.0
    for octave in range(octaves):
        layer = gradient_noise(x, np.full_like(x, np.float32(row + 3.37 * octave)), table)
        crest = 1.0 - 2.2 * np.abs(layer)
        total += np.float32(weight) * (layer + np.float32(ridged) * (crest - layer))
        norm += weight
        weight *= gain
        x = x * np.float32(2.07) + np.float32(9.1)
    return total * np.float32(1.0 / norm)
