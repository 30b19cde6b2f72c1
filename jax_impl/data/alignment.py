"""Registration of two pictures of one scene in different light: where x0 lies on cond, and how sure that is."""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from PIL import Image

from export.edge.pictures.arrays import resize
from jax_impl.data.checkup import agreement, edges
from jax_impl.data.warp import Move, common, transform

Verdict = Literal["moved", "aligned", "unclear", "too far", "too small", "two shapes"]
WORKING_SIDE = 1024
"""Longer side at which pictures are compared, pixels; larger ones are made smaller for it."""
LEAST_MOVE = 0.5
"""A pair whose corners are displaced by less counts as aligned, pixels at the working side."""
FARTHEST = 0.15
"""A pair with a corner displaced by more is left alone, share of the shorter side."""
LEAST_PEAK = 6.0
"""Height of the correlation's peak below which no result counts, standard deviations."""
MOST_ERROR = 0.35
"""Standard error above which no result counts, pixels at the working side."""
MIN_SIDE_TO_ALIGN = 48
"""Pictures with a shorter side, at the working size, are not compared, pixels."""
_COARSE_SIDE, _TILE, _BLOCKS = 128, 32, 6
_TURNS = np.deg2rad([-3.0, -1.5, 0.0, 1.5, 3.0])
_SCALES = (0.96, 0.98, 1.0, 1.02, 1.04)


@dataclass(frozen=True)
class Registration:
    """What the comparison of two pictures says; all but the verdict is of no meaning where that is not sure."""

    verdict: Verdict
    move: Move = field(default_factory=Move)
    """In pixels of cond, x0 first brought to its size."""
    displacement: float = 0.0
    """Of the corner that is displaced most, pixels of cond."""
    peak: float = 0.0
    """Height of the correlation's peak, in standard deviations of its surroundings."""
    error: float = math.inf
    """Standard error of the corners' displacement, pixels of cond."""


def register(cond: np.ndarray, x0: np.ndarray) -> Registration:
    """Find the shift, turn (to about 4 degrees) and scale (to about 5 %) between two pictures of a scene.

    Both become fields of edge directions, which light hardly changes (`orientations`). At 128 pixels their correlation
    (Kuglin & Hines 1975) is searched over all shifts and a grid of turns and scales. From there to the working side,
    twice at each size, x0's field is laid over cond's, both are cut into tiles, and the one turn, scale and shift that
    maximises the sum of all tiles' correlations is found by Newton's method (`_fit`). Tiles that changed, such as
    clouds, add noise and no vote.

    A result counts where the peak stands out from its surroundings, where parts of the picture agree on it (the
    standard error), and where the gradients' magnitudes, which had no part in it, agree better than before.

    Args:
        cond: uint8 (height, width, 3).
        x0: the same; if of another size, it is brought to cond's first.
    """
    height, width = cond.shape[:2]
    levels = _levels(height, width)
    if min(levels[-1]) < MIN_SIDE_TO_ALIGN:
        return Registration("too small")
    greys = [_shrunk(Image.fromarray(resize(p, height, width)).convert("F"), levels[-1]) for p in (cond, x0)]
    move, ratio, size = None, (1.0, 1.0), (0, 0)
    first = second = np.zeros(0)
    peak, error = 0.0, math.inf
    for level in levels:
        first, second = (np.asarray(_shrunk(grey, level)) for grey in greys)
        fields = orientations(first), orientations(second)
        if move is None:
            move = _coarse(*fields)
        else:
            move = Move(move.z, complex(move.w.real * level[1] / size[1], move.w.imag * level[0] / size[0]))
        size, ratio = level, (width / level[1], height / level[0])
        for _ in range(2):
            tiles = _tiles(fields[0], _laid_over(fields[1], move))
            fit = _fit(tiles, math.hypot(*size) / 2)
            if fit is None:
                peak, error = 0.0, math.inf
                break
            move, peak, error = move.after(*fit[:2]), _peak(tiles), fit[2]
    assert move is not None
    displacement = move.farthest(*size)
    verdict: Verdict = "moved" if displacement >= LEAST_MOVE else "aligned"
    if peak < LEAST_PEAK or error > MOST_ERROR:
        verdict = "unclear"
    elif displacement > FARTHEST * min(size):
        verdict = "too far"
    elif verdict == "moved" and not _agrees_better(first, second, move):
        verdict = "unclear"
    full = Move(move.z, complex(move.w.real * ratio[0], move.w.imag * ratio[1]))
    return Registration(verdict, full, full.farthest(height, width), peak, error * max(ratio))


def _agrees_better(first: np.ndarray, second: np.ndarray, move: Move) -> bool:
    left, top, right, bottom = box = common(move, *first.shape)
    moved = np.asarray(transform(Image.fromarray(second), move, box))
    here, before, now = (edges(each) for each in (first[top:bottom, left:right], second[top:bottom, left:right], moved))
    return agreement(here, now, 0, 0) > agreement(here, before, 0, 0)


def _levels(height: int, width: int) -> list[tuple[int, int]]:
    """(height, width) to compare at, the coarsest first."""
    sides = [min(max(height, width), WORKING_SIDE)]
    scale = 1.0 / max(height, width)
    while sides[-1] > 1.5 * _COARSE_SIDE and sides[-1] // 2 * scale * min(height, width) >= MIN_SIDE_TO_ALIGN:
        sides.append(sides[-1] // 2)
    return [(max(1, round(height * scale * side)), max(1, round(width * scale * side))) for side in sides[::-1]]


def _shrunk(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    height, width = size
    return image.resize((width, height), Image.Resampling.LANCZOS)


def orientations(grey: np.ndarray) -> np.ndarray:
    """The direction of edges whatever their polarity and contrast: complex64 (height, width), magnitudes below 1.

    The field of orientation correlation (Fitch et al. 2002, "Orientation Correlation") with its angle doubled, as the
    bright side of an edge at dawn may be its dark side at dusk; fading where the gradient is weak next to the
    rest of its surroundings.

    Args:
        grey: float32 (height, width), levels of 255.
    """
    down, right = np.gradient(grey)
    power = down * down + right * right
    height, width = grey.shape
    cells = Image.fromarray(power).resize((max(1, width // 12), max(1, height // 12)), Image.Resampling.BOX)
    around = np.asarray(cells.resize((width, height), Image.Resampling.BILINEAR))
    return ((right + 1j * down) ** 2 / (power + around + 0.3 * power.mean() + 1.0)).astype(np.complex64)


def _laid_over(directions: np.ndarray, move: Move) -> np.ndarray:
    """x0's field of directions as it lies on cond, zero where x0 does not reach."""
    box = (0, 0, directions.shape[1], directions.shape[0])
    parts = [Image.fromarray(each.copy()) for each in (np.real(directions), np.imag(directions))]
    cos, sin = (np.asarray(transform(each, move, box)) for each in parts)
    return (cos + 1j * sin) * np.complex64(cmath.exp(-2j * cmath.phase(move.z)))


def _coarse(first: np.ndarray, second: np.ndarray) -> Move:
    """The best of all shifts and of a grid of turns and scales."""
    height, width = first.shape
    window = np.outer(np.hanning(height), np.hanning(width)).astype(np.float32)
    conjugate = np.conj(np.fft.fft2(first * window))
    shifts = np.fft.fftfreq(width, 1 / width) + 1j * np.fft.fftfreq(height, 1 / height)[:, None]
    near = np.abs(shifts) <= 1.2 * FARTHEST * min(height, width)
    blur = _low_pass(height, width, 0.15)
    best, found = -math.inf, Move()
    for z in (complex(scale * cmath.exp(1j * turn)) for turn in _TURNS for scale in _SCALES):
        cross = conjugate * np.fft.fft2(_laid_over(second, Move(z)) * window)
        # Half way to phase correlation: a sharp peak, without giving noise the weight of signal.
        surface = np.where(near, np.fft.ifft2(cross / np.sqrt(np.abs(cross) + 1e-9) * blur).real, -math.inf)
        if surface.max() > best:
            best, found = surface.max(), Move(z, z * complex(shifts.flat[surface.argmax()]))
    return found


def _low_pass(height: int, width: int, sigma: float) -> np.ndarray:
    """A Gaussian over the frequencies of a discrete Fourier transform, sigma in cycles per pixel."""
    square = np.fft.fftfreq(height)[:, None] ** 2 + np.fft.fftfreq(width) ** 2
    return np.exp(-square / (2 * sigma**2)).astype(np.float32)


@dataclass(frozen=True)
class _Tiles:
    """Correlations of tiles that overlap by half."""

    spectra: np.ndarray
    """complex (tiles, _TILE, _TILE): their Fourier series."""
    centres: np.ndarray
    """complex (tiles,), from the picture's centre."""
    blocks: np.ndarray
    """int (tiles,): which of _BLOCKS² parts of the picture a tile lies in."""


def _tiles(first: np.ndarray, second: np.ndarray) -> _Tiles:
    n, (height, width) = _TILE, first.shape
    starts = [np.linspace(0, s - n, 1 + math.ceil(2 * (s - n) / n)).round().astype(int) for s in (height, width)]
    window = np.outer(np.hanning(n), np.hanning(n)).astype(np.float32)
    views = (np.lib.stride_tricks.sliding_window_view(each, (n, n)) for each in (first, second))
    here, there = (np.fft.fft2(view[np.ix_(*starts)].reshape(-1, n, n) * window) for view in views)
    y, x = (each.ravel() + n / 2 for each in np.meshgrid(*starts, indexing="ij"))
    blocks = (y * _BLOCKS // height) * _BLOCKS + x * _BLOCKS // width
    spectra = np.conj(here) * there * _low_pass(n, n, 0.2) / (n * n)
    return _Tiles(spectra, x - width / 2 + 1j * (y - height / 2), blocks.astype(int))


def _derivatives(tiles: _Tiles, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The gradients (tiles, 2) and second derivatives (tiles, 2, 2) of the tiles' correlations, each at its own shift.

    Sums over the Fourier series, so that the shift may be any fraction of a pixel (Guizar-Sicairos et al. 2008).
    """
    k = 2j * np.pi * np.fft.fftfreq(_TILE)
    k[_TILE // 2] = 0.0  # The highest frequency has no derivative of its own.
    k = k.astype(np.complex64)
    right, down = (np.exp(k * part[:, None].astype(np.float32)) for part in (np.real(at), np.imag(at)))
    rows = [np.matmul(tiles.spectra, (right * k**i)[:, :, None])[:, :, 0] for i in range(3)]
    x, y, xx, xy, yy = (
        (rows[i] * down * k**j).sum(1).real.astype(np.float64) for i, j in ((1, 0), (0, 1), (2, 0), (1, 1), (0, 2))
    )
    return np.stack([x, y], -1), np.stack([xx, xy, xy, yy], -1).reshape(-1, 2, 2)


def _fit(tiles: _Tiles, radius: float) -> tuple[complex, complex, float] | None:
    """(z, w) near (1, 0) that maximise the sum of the tiles' correlations, and the standard error at `radius`.

    The error is that of an M-estimator (Huber 1967) whose observations are the parts of the picture, as neighbouring
    tiles overlap (Liang & Zeger 1986). None where there is no such maximum.
    """
    u = tiles.centres / radius
    one, zero = np.ones_like(u.real), np.zeros_like(u.real)
    jacobian = np.stack([one, zero, u.real, -u.imag, zero, one, u.imag, u.real], -1).reshape(-1, 2, 4)
    p = np.zeros(4)
    scores, hessian = np.zeros((len(u), 4)), np.zeros((4, 4))
    for _ in range(12):
        gradient, second = _derivatives(tiles, complex(p[0], p[1]) + complex(p[2], p[3]) * u)
        scores = (gradient[:, None] @ jacobian)[:, 0]
        hessian = (jacobian.transpose(0, 2, 1) @ second @ jacobian).sum(0)
        values, vectors = np.linalg.eigh(-hessian)
        # Newton's step where the surface is convex upwards, and one uphill where it is not.
        values = np.maximum(np.abs(values), 0.05 * np.abs(values).max() + 1e-12)
        step = vectors @ (vectors.T @ scores.sum(0) / values)
        step /= max(1.0, np.abs(step).max())
        p = p + step
        if np.abs(step).max() < 1e-3:
            break
    if np.abs(p).max() > _TILE / 6 or np.linalg.eigvalsh(-hessian).min() <= 0.0:
        return None
    parts = np.zeros((_BLOCKS**2, 4))
    np.add.at(parts, tiles.blocks, scores)
    influence = parts @ np.linalg.inv(hessian)
    return 1 + complex(p[2], p[3]) / radius, complex(p[0], p[1]), float(np.sqrt((influence**2).sum()))


def _peak(tiles: _Tiles) -> float:
    """The height of the summed correlation's peak, in standard deviations of what lies around it."""
    surface = np.fft.ifft2(tiles.spectra.sum(0)).real
    offset = np.fft.fftfreq(_TILE, 1 / _TILE)
    distance = np.hypot(offset[:, None], offset)
    around = surface[(distance > 4) & (distance < _TILE / 3)]
    return float((surface[distance <= 1].max() - around.mean()) / (around.std() + 1e-9))
