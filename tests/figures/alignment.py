"""How well misaligned pairs are registered: real ones of fixed cameras, displaced on purpose by known amounts.

`python -m tests.figures.alignment DIR`
"""

from __future__ import annotations

import argparse
import cmath
import math
from collections.abc import Sequence

import numpy as np
from skimage.transform import AffineTransform, warp

from export.edge.errors import UserError, run
from export.edge.pictures.arrays import resize
from jax_impl.config.data import DataConfig
from jax_impl.data.alignment import register
from jax_impl.data.pairs import Pair, read_pair
from jax_impl.data.sources import open_source
from jax_impl.data.warp import Move
from tests.figures.counts import check_counts

PART = 0.64
"""Sides of what is looked at, as a share of the picture's: there is room around it for every displacement."""


def main(argv: Sequence[str] | None = None) -> None:
    """Print what became of every pair once displaced, and of pairs put together from different places."""
    parser = argparse.ArgumentParser(prog="python -m tests.figures.alignment", description=__doc__)
    parser.add_argument("pairs", help="a folder of pairs, or a manifest")
    parser.add_argument("--strangers", type=int, default=500, help="pairs of different places (default: 500)")
    arguments = parser.parse_args(argv)
    check_counts(arguments, "strangers", least=0)
    source = open_source(DataConfig(path=arguments.pairs))
    pairs = [pair for members in source.splits.values() for pair in members]
    if not pairs:
        raise UserError(f"there are no pairs in {arguments.pairs}; name a folder of pairs")
    rng = np.random.default_rng(0)
    unlike, known, moved = [], [], 0
    for pair in pairs:
        cond, x0 = read_pair(pair)
        x0 = resize(x0, *cond.shape[:2])
        height, width = (round(PART * side) for side in cond.shape[:2])
        move = random_move(rng, 0.08 * min(height, width))
        here = seen_from(cond, Move(), height, width)
        found = register(here, seen_from(x0, move, height, width))
        if found.verdict != "moved":
            continue
        moved += 1
        known.append(distance(found.move, move, height, width))
        still = register(here, seen_from(x0, Move(), height, width))
        if still.verdict in ("moved", "aligned"):
            # Where the undisplaced pair lies, seen from the displaced one.
            unlike.append(distance(found.move, move.after(still.move.z, still.move.w), height, width))
    print(f"{len(pairs)} pairs, {moved} moved ({100 * moved / len(pairs):.0f} %)")
    for what, errors in (("from the undisplaced pair", unlike), ("from the displacement", known)):
        if errors:
            middle, most = np.percentile(errors, (50, 95))
            print(f"{what} ({len(errors)}): median {middle:.2f} px, 95 % {most:.2f}, most {max(errors):.2f}")
    print(
        f"of {arguments.strangers} pairs of different places {strangers_moved(pairs, arguments.strangers, rng)} moved"
    )


def strangers_moved(pairs: Sequence[Pair], count: int, rng: np.random.Generator) -> int:
    """How many of `count` pairs whose pictures show different scenes are moved; 0 where all are of one scene."""
    wrong, scenes = 0, {pair.scene or pair.name for pair in pairs}
    while count > 0 and len(scenes) > 1:
        here, there = (pairs[i] for i in rng.integers(len(pairs), size=2))
        if (here.scene or here.name) == (there.scene or there.name):
            continue
        wrong += register(read_pair(here)[0], read_pair(there)[1]).verdict == "moved"
        count -= 1
    return wrong


def random_move(rng: np.random.Generator, shift: float) -> Move:
    """Up to 3 degrees, 3 % and `shift` pixels."""
    turn, scale = math.radians(rng.uniform(-3, 3)), rng.uniform(0.97, 1.03)
    return Move(cmath.rect(scale, turn), cmath.rect(rng.uniform(0, shift), rng.uniform(0, 2 * math.pi)))


def seen_from(picture: np.ndarray, move: Move, height: int, width: int, *, check: bool = True) -> np.ndarray:
    """The middle of a larger picture, displaced by `move`: scikit-image's warp, with nothing but true pixels."""
    inverse, shift = 1 / move.z, -move.w / move.z
    middle = complex(picture.shape[1] - 1, picture.shape[0] - 1) / 2
    start = shift + middle - inverse * complex(width - 1, height - 1) / 2
    matrix = [[inverse.real, -inverse.imag, start.real], [inverse.imag, inverse.real, start.imag], [0, 0, 1]]
    outside = np.nan if check else 0
    seen = warp(
        picture.astype(float), AffineTransform(np.array(matrix)), output_shape=(height, width), order=3, cval=outside
    )
    assert not np.isnan(seen).any()
    return np.clip(seen + 0.5, 0, 255).astype(np.uint8)


def distance(a: Move, b: Move, height: int, width: int) -> float:
    """How far two moves are apart, root mean square over the corners, pixels."""
    corners = [complex(x * width, y * height) / 2 for x in (-1, 1) for y in (-1, 1)]
    return float(np.sqrt(np.mean([abs((a.z - b.z) * q + a.w - b.w) ** 2 for q in corners])))


if __name__ == "__main__":
    run(main)
