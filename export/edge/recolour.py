"""A change of colour, found on a small picture, applied to the pixels of a large photo.

The photo is worked on in strips of whole rows, each by one thread and in memory of its own: no array of floats has the
photo's size. A row's change lies between those of two rows of the small picture and grows by the same step from each
row to the next.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from export.edge.threads import processors, share

STRIP = 64
"""Least rows of a strip; the last may have fewer. It does not change the result."""
MOST_THREADS = 4
"""More wait for each other: what lies between two calls of numpy, one thread alone can run."""
_LINES = "RGB;L"
"""Pillow's name for rows of all red, all green, then all blue values."""


@dataclass(frozen=True)
class _Grid:
    """The change on the small picture's grid, and where each row and column of the photo lies on it."""

    planes: np.ndarray
    """float32 (h, 4, 3, w), in levels of 255; in the offset half a level more, for rounding."""
    above: np.ndarray
    below: np.ndarray
    down: np.ndarray
    """For each row of the photo: the two rows around it, and how far it lies towards the second."""
    left: np.ndarray
    right: np.ndarray
    across: np.ndarray
    """The same for its columns."""

    def widened(self, row: int) -> np.ndarray:
        """A row of the grid at all columns of the photo, float32 (4, 3, width)."""
        first = self.planes[row].take(self.left, axis=-1)
        change = self.planes[row].take(self.right, axis=-1)
        change -= first
        change *= self.across
        change += first
        return change


def apply(
    change: np.ndarray, photo: np.ndarray, top: int = 0, bottom: int | None = None, *, threads: int | None = None
) -> np.ndarray:
    """Change the colours of the rows `top` to `bottom` (by default all) of a photo, uint8 (height, width, 3).

    change: as `export.edge.detail.change_of_colour` gives it, (h, w, 4, 3), for the whole photo. `threads`: at most so
    many, by default one for each processor that the process may use. Returns uint8 (bottom - top, width, 3).
    """
    grid = _grid(change, *photo.shape[:2])
    end = len(photo) if bottom is None else bottom
    changed = np.empty((end - top, photo.shape[1], 3), np.uint8)

    def strips(rows: Callable[[np.ndarray, int], np.ndarray], first: int, last: int) -> None:
        lines = np.empty((last - first, 3, photo.shape[1]), np.uint8)
        for channel in range(3):  # One at a time, which numpy does four times as fast as all by one transposition.
            lines[:, channel] = photo[first:last, :, channel]
        lines = rows(lines, first)
        for channel in range(3):
            changed[first - top : last - top, :, channel] = lines[:, channel]

    _by_strips(grid, _cuts(grid, top, end), strips, threads)
    return changed


def apply_in_place(change: np.ndarray, photo: Image.Image, *, threads: int | None = None) -> None:
    """The same for all rows of an image of mode RGB, whose pixels are replaced."""
    width, height = photo.size
    grid, lock = _grid(change, height, width), threading.Lock()

    def strips(rows: Callable[[np.ndarray, int], np.ndarray], first: int, last: int) -> None:
        data = photo.crop((0, first, width, last)).tobytes("raw", _LINES)
        lines = rows(np.frombuffer(data, np.uint8).reshape(last - first, 3, width), first)
        made = Image.frombuffer("RGB", (width, last - first), lines, "raw", _LINES, 0, 1)
        with lock:
            photo.paste(made, (0, first))

    _by_strips(grid, _cuts(grid, 0, height), strips, threads)


def _grid(change: np.ndarray, height: int, width: int) -> _Grid:
    planes = change.transpose(0, 2, 3, 1).copy()
    # In levels, not in [-1, 1], so that the photo's bytes are used as they are.
    planes[:, 3] = 127.5 * (planes[:, 3] - planes[:, :3].sum(axis=1)) + 128.0
    rows, columns = change.shape[:2]
    return _Grid(planes, *_between(height, rows), *_between(width, columns))


def _between(size: int, small: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of `size` pixels the two of `small` around its middle, and how far it lies towards the second."""
    place = np.clip((np.arange(size) + 0.5) * small / size - 0.5, 0.0, small - 1.0)
    first = place.astype(np.intp)
    return first, np.minimum(first + 1, small - 1), (place - first).astype(np.float32)


def _cuts(grid: _Grid, top: int, end: int) -> list[tuple[int, int]]:
    """The rows `top` to `end` as strips that end where the row above them on the grid changes."""
    changes = np.flatnonzero(np.diff(grid.above[top:end])) + top + 1
    cuts = [top]
    for place in changes.tolist():
        if place - cuts[-1] >= STRIP:
            cuts.append(place)
    return list(zip(cuts, [*cuts[1:], end], strict=True)) if end > top else []


def _by_strips(
    grid: _Grid,
    cuts: list[tuple[int, int]],
    work: Callable[[Callable[[np.ndarray, int], np.ndarray], int, int], None],
    threads: int | None,
) -> None:
    """Call `work(rows, first, last)` for each strip. `rows` changes its lines and belongs to one thread."""

    def begin() -> Callable[[tuple[int, int]], None]:
        rows = _changer(grid)
        return lambda strip: work(rows, *strip)

    share(cuts, begin, min(threads or processors(), MOST_THREADS))


def _changer(grid: _Grid) -> Callable[[np.ndarray, int], np.ndarray]:
    """A function of lines, uint8 (rows, 3, width), and of the place of the first, that returns them changed."""
    width = len(grid.left)
    here, between, step = np.empty((3, 4, 3, width), np.float32)
    wide: dict[int, np.ndarray] = {}  # The last two rows of the grid that were used: one of them is used again.
    colours, total = np.empty((2, 3, width), np.float32)
    slopes, offset = here[:3], here[3]
    slope = np.float32(len(grid.planes) / len(grid.above))

    def begin(row: int) -> None:
        """Bring `here` to a row, from the first of those that lie between the same two rows of the grid."""
        rows = int(grid.above[row]), int(grid.below[row])
        found = {place: wide[place] if place in wide else grid.widened(place) for place in rows}
        wide.clear()
        wide.update(found)
        np.subtract(wide[rows[1]], wide[rows[0]], out=between)
        np.multiply(between, slope, out=step)
        first = int(np.searchsorted(grid.above, grid.above[row]))
        for later in range(first, row + 1):
            follow(later, later == first)

    def follow(row: int, fresh: bool = False) -> None:
        """Bring `here` from one row to the next."""
        if fresh or grid.down[row - 1] == 0.0:  # Above the middle of the first row of the grid nothing changes.
            np.multiply(between, grid.down[row], out=here)
            np.add(here, wide[int(grid.above[row])], out=here)
        else:
            np.add(here, step, out=here)

    def rows(lines: np.ndarray, top: int) -> np.ndarray:
        changed = np.empty_like(lines)
        for index, line in enumerate(lines):
            row = top + index
            if index == 0 or grid.above[row] != grid.above[row - 1]:
                begin(row)
            else:
                follow(row)
            np.copyto(colours, line)
            np.einsum("kcx,kx->cx", slopes, colours, out=total)  # In one pass, where products and sums take six.
            np.add(total, offset, out=total)
            np.clip(total, 0.0, 255.0, out=total)
            changed[index] = total
        return changed

    return rows
