"""A picture larger than the network's own size, drawn in overlapping windows of that size that agree.

MultiDiffusion (Bar-Tal, Yariv, Lipman, Dekel 2023, equation 5): all windows share one state
x_t, and in each step what the network says of each is averaged, with weights, where they
overlap. Averaged is the network's output, in which a sampler's step is linear except for
the bound on x0_hat; so any sampler, and the noise of the whole picture, can be used as they are.

A network that was trained on whole scenes takes a window for a scene of its own, and gives
it a sky of its own. So the whole scene is drawn first, at the network's own size, and in
each step the coarse part of x0_hat, all that such a small picture can hold, is taken from
there (the low-pass filter of Choi, Kim, Jeong, Gwon, Yoon 2021, "ILVR", equation 8, applied
to x0_hat); the windows add what is finer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import numpy as np
from PIL import Image

from export.edge.errors import UserError
from export.edge.model.artifact import Artifact
from export.edge.model.codec import IDENTITY_CODEC, Codec
from export.edge.pictures.arrays import working_sides
from export.edge.sampling.loop import Denoise
from export.edge.sampling.table import Plan

OVERLAP = 0.5
"""Share of a window's side that it has in common with the next, at least."""
MOST_PIXELS = 2**22
"""Pixels of the largest picture that is drawn in windows; a sampler holds about 200 bytes for each."""

Window = tuple[slice, slice]
"""Rows and columns."""


def check_tile(model: Artifact, tile: int) -> None:
    """Raise UserError unless the short side that is asked for suits the model."""
    multiple = model.size_multiple
    most = math.isqrt(MOST_PIXELS) // multiple * multiple
    if not model.size <= tile <= most or tile % multiple:
        nearest = min(max(_nearest(tile, multiple), _nearest(model.size, multiple)), most)
        raise UserError(
            f"tile {tile} is no multiple of {multiple} from {model.size}, the model's own size, to {most}; choose one, "
            f"such as {nearest}"
        )


def own_tile(model: Artifact, height: int, width: int) -> int:
    """The tile for a photo of these sides, pixels, that comes nearest to drawing it at its own size."""
    multiple = model.size_multiple
    smallest = _nearest(model.size, multiple)
    tile = max(_nearest(min(height, width), multiple), smallest)
    while tile > smallest and math.prod(working_sides(height, width, tile, multiple)) > MOST_PIXELS:
        tile -= multiple
    return tile


def _nearest(side: int, multiple: int) -> int:
    return max(1, round(side / multiple)) * multiple


def windows(height: int, width: int, size: int, multiple: int) -> list[Window]:
    """Windows of `size` pixels square that cover a picture, row by row; the whole side where it is shorter.

    They begin at multiples of `multiple`, as evenly apart as that allows, and overlap by
    OVERLAP of their side or more. All sides are multiples of `multiple`. Raises UserError for
    a picture of more than MOST_PIXELS.
    """
    if height * width > MOST_PIXELS:
        raise UserError(
            f"a picture of {width} x {height} pixels is more than the {MOST_PIXELS // 2**20} million that are drawn in "
            "tiles; choose a smaller tile"
        )
    rows, columns = _places(height, size, multiple), _places(width, size, multiple)
    return [(slice(y, y + min(size, height)), slice(x, x + min(size, width))) for y, x in product(rows, columns)]


def _places(side: int, size: int, multiple: int) -> list[int]:
    room = (side - size) // multiple
    if room <= 0:
        return [0]
    stride = max(1, int(size * (1.0 - OVERLAP)) // multiple)
    gaps = -(-room // stride)
    return [multiple * (i * room // gaps) for i in range(gaps + 1)]


def weight(height: int, width: int) -> np.ndarray:
    """How much a window counts at each of its pixels, float32 (height, width, 1): sin^2, highest in the middle."""
    down, across = (np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in (height, width))
    return (down[:, None] * across)[..., None].astype(np.float32)


def tiled(denoise: Denoise, places: list[Window], on_window: Callable[[int], None] | None = None) -> Denoise:
    """`denoise`, asked about one window after the other, with its answers averaged where they overlap.

    `on_window(done)` is called before the first window and after each, counted over all calls.
    """
    done = 0

    def whole(x_t: np.ndarray, cond: np.ndarray, t: np.ndarray) -> np.ndarray:
        nonlocal done
        total = np.zeros_like(x_t)
        weights = np.zeros_like(x_t[..., :1])
        if done == 0 and on_window is not None:
            on_window(done)
        for place in places:
            part = denoise(cut(x_t, place), cut(cond, place), t)
            counts = weight(part.shape[1], part.shape[2])
            cut(total, place)[...] += counts * part
            cut(weights, place)[...] += counts
            done += 1
            if on_window is not None:
                on_window(done)
        total /= weights
        return total

    return whole


def anchored(denoise: Denoise, x0: np.ndarray, plan: Plan, codec: Codec = IDENTITY_CODEC) -> Denoise:
    """`denoise`, its output changed so that the coarse part of x0_hat is that of a smaller picture of the same scene.

    It is to be called once for each row of `plan`, in order. x0: floats (h, w, 3) in [-1, 1], a picture: what is coarse
    is known of pictures, not of a codec's states.
    """
    calls = 0
    start = np.empty(0)

    def kept(x_t: np.ndarray, cond: np.ndarray, t: np.ndarray) -> np.ndarray:
        nonlocal calls, start
        start = x_t if calls == 0 else start
        out = denoise(x_t, cond, t)
        columns = (plan.x0_from_x, plan.x0_from_output, plan.x0_from_start)
        from_x, from_output, from_start = (float(column[calls]) for column in columns)
        calls += 1
        if from_output == 0.0:
            return out
        for one, state, first in zip(out, x_t, start, strict=True):
            found = from_x * state + from_output * one
            if from_start != 0.0:
                found += from_start * first
            picture = codec.decode(found[None])[0]
            change = _resized(x0 - _resized(picture, *x0.shape[:2]), *picture.shape[:2])
            if codec != IDENTITY_CODEC:
                before, after = codec.encode(np.stack([picture, picture + change]))
                change = after - before
            one += change / np.float32(from_output)
        return out

    return kept


def _resized(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Floats (h, w, 3) at another size, float32: bicubic, antialiased when it shrinks."""
    planes = (Image.fromarray(np.ascontiguousarray(values[..., c], np.float32)) for c in range(values.shape[2]))
    return np.stack([np.asarray(p.resize((width, height), Image.Resampling.BICUBIC)) for p in planes], axis=-1)


def cut(whole: np.ndarray, place: Window) -> np.ndarray:
    """What a window sees of an array (batch, height, width, channels); a view."""
    return whole[:, place[0], place[1]]
