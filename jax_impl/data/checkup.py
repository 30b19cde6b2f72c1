"""Measurements on pairs of pictures that tell whether they are fit to learn from."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.edge.errors import UserError
from export.edge.pictures.arrays import fit_square, resize
from export.edge.pictures.files import lacks_end
from jax_impl.data.pairs import Pair
from jax_impl.data.sources.source import Source

ALIGN_SIDE = 192
"""Side at which two pictures are laid over each other, pixels."""
LEAST_SHIFT = 2.5
"""Shifts below this, in pixels at ALIGN_SIDE, count as aligned: a camera on a pole moves that much."""
LEAST_CONFIDENCE = 1.5
"""How far the correlation's peak must stand out from the next one."""
_LEAST_PEAK = 8.0
_LEAST_GAIN = 0.03
NEAR_HASH = 6
"""Two pictures whose hashes differ in at most this many of 64 bits may be the same."""
NEAR_LEVEL = 4.0
"""They are, where their thumbnails differ by no more than this on average, levels of 255."""
_CHUNK = 4_000_000

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Shift:
    """How far x0 lies right of and below cond, in pixels of cond, and how sure that is (1 is a guess)."""

    right: float
    down: float
    confidence: float


@dataclass(frozen=True)
class Look:
    """What is kept of a picture once it has been read."""

    height: int
    width: int
    bits: int
    """64-bit difference hash."""
    thumbnail: np.ndarray
    """uint8 (16, 16, 3)"""
    brightest: int
    """Greatest of all samples, 0 to 255."""
    digest: bytes
    """Of all samples: equal for equal pictures alone."""


@dataclass(frozen=True)
class Inspected:
    """A pair after both pictures were opened."""

    pair: Pair
    problem: str | None
    """Why the pair cannot be read; then there are no looks."""
    looks: tuple[Look, Look] | None
    """cond and x0"""
    shift: Shift | None
    """None where the two are aligned or where that is not clear."""
    unended: tuple[Path, ...] = ()
    """Its JPEG files that lack their end mark, and nothing else."""


def inspect(source: Source, pair: Pair, fit: str) -> Inspected:
    """Open a pair and measure it; a picture that cannot be read becomes `problem`."""
    try:
        cond, x0 = source.read(pair)
    except UserError as error:
        return Inspected(pair, str(error), None, None)
    files = dict.fromkeys(locator.path for locator in pair.locators if locator is not None)
    unended = tuple(path for path in files if lacks_end(path))
    return Inspected(pair, None, (look(cond), look(x0)), misalignment(cond, x0, fit), unended)


def look(picture: np.ndarray) -> Look:
    """The measurements of one picture, uint8 (height, width, 3)."""
    bits, thumbnail = difference_hash(picture), resize(picture, 16, 16)
    return Look(picture.shape[0], picture.shape[1], bits, thumbnail, int(picture.max()), _digest(picture))


def _digest(picture: np.ndarray) -> bytes:
    return hashlib.blake2b(str(picture.shape).encode() + picture.tobytes(), digest_size=16).digest()


def difference_hash(picture: np.ndarray) -> int:
    """64 bits: whether each of 8 x 8 grey cells is darker than its right neighbour.

    Kriesi's dHash ("Kind of Like That", hackerfactor.com, 2013): it survives scaling,
    recompression and changes of brightness.
    """
    grey = resize(picture, 8, 9).astype(np.float32) @ _LUMA
    return int.from_bytes(np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes(), "big")


def near_duplicates(ours: Sequence[Look], others: Sequence[Look]) -> list[tuple[int, int]]:
    """Positions (in `ours`, in `others`) of pictures that are the same except for scale and compression."""
    if not ours or not others:
        return []
    bits = np.array([each.bits for each in others], np.uint64)
    found = []
    chunk = max(1, _CHUNK // len(others))
    for start in range(0, len(ours), chunk):
        block = np.array([each.bits for each in ours[start : start + chunk]], np.uint64)
        near = np.argwhere(np.bitwise_count(block[:, None] ^ bits[None]) <= NEAR_HASH)
        for i, j in near.tolist():
            difference = np.abs(ours[start + i].thumbnail.astype(np.float32) - others[j].thumbnail).mean()
            if difference <= NEAR_LEVEL:
                found.append((start + i, j))
    return found


def misalignment(cond: np.ndarray, x0: np.ndarray, fit: str) -> Shift | None:
    """The shift between two pictures of a scene, or None where they are aligned or it is unclear.

    Phase correlation (Kuglin & Hines 1975) of the gradients' magnitudes: edges stay where
    they are when the light changes. Reported only where the peak is well above noise,
    stands out from the next one (repeated windows make rivals), and the gradients really
    agree better with the shift than without.

    Args:
        cond: uint8 (height, width, 3).
        x0: the same, of any size.
        fit: how training makes pictures square; the comparison does the same, without bars.
    """
    height, width = cond.shape[:2]
    rule = "crop" if fit == "crop" else "stretch"
    side = min(ALIGN_SIDE, *cond.shape[:2], *x0.shape[:2])
    if side < 2 * ALIGN_SIDE // 8:
        return None
    ours, others = (edges(fit_square(p, side, rule).astype(np.float32) @ _LUMA) for p in (cond, x0))
    window = np.outer(np.hanning(side), np.hanning(side))
    first, second = (np.fft.rfft2((each - each.mean()) * window) for each in (ours, others))
    cross = second * np.conj(first)
    frequency = np.fft.fftfreq(side)
    blur = np.exp(-(frequency[:, None] ** 2 + np.fft.rfftfreq(side)[None] ** 2) / (2 * 0.15**2))
    surface = np.fft.irfft2(cross / (np.abs(cross) + 1e-9) * blur, s=(side, side))
    row, column = np.unravel_index(int(surface.argmax()), surface.shape)
    # Rivals are at least 5 pixels from the peak, around the edges of the surface too.
    away = [np.abs((np.arange(side) - at + side // 2) % side - side // 2) > 4 for at in (row, column)]
    rival = surface[away[0][:, None] | away[1][None]].max()
    peak = float(surface.max())
    down, right = ((int(at) + side // 2) % side - side // 2 for at in (row, column))
    confidence = peak / max(float(rival), 1e-9)
    clear = confidence >= LEAST_CONFIDENCE and peak >= _LEAST_PEAK * float(surface.std())
    if math.hypot(right, down) < LEAST_SHIFT or not clear:
        return None
    still = max(agreement(ours, others, y, x) for y in (-1, 0, 1) for x in (-1, 0, 1))
    if agreement(ours, others, down, right) < still + _LEAST_GAIN:
        return None
    scales = (min(height, width) / side,) * 2 if rule == "crop" else (width / side, height / side)
    return Shift(right * scales[0], down * scales[1], confidence)


def edges(grey: np.ndarray) -> np.ndarray:
    """Logarithm of the gradient's magnitude, float (height, width), relative to its mean."""
    down, right = np.gradient(grey)
    magnitude = np.hypot(down, right)
    return np.log1p(magnitude / (magnitude.mean() + 1e-6))


def agreement(first: np.ndarray, second: np.ndarray, down: int, right: int) -> float:
    """Correlation of two equal arrays where they overlap, the second moved back by (down, right)."""
    height, width = first.shape
    a = first[max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)]
    b = second[max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)]
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / (np.sqrt((a * a).sum() * (b * b).sum()) + 1e-9))
