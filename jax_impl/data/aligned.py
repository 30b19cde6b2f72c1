"""A copy of a set of pairs with each x0 laid over its cond, and what there is to say about it."""

from __future__ import annotations

import cmath
import math
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.edge.disk.files import atomic_folder, check_output_folder
from export.edge.errors import UserError
from export.edge.pictures.arrays import resize
from export.edge.pictures.files import save_picture
from export.edge.pictures.kinds import PLAIN
from export.edge.pictures.sheets import grid
from jax_impl.config.data import DataConfig, Direction
from jax_impl.data.alignment import WORKING_SIDE, Registration, Verdict, register
from jax_impl.data.checkup import Inspected, edges
from jax_impl.data.findings import differs
from jax_impl.data.pairs import Pair
from jax_impl.data.sources.registry import open_source
from jax_impl.data.sources.source import Source
from jax_impl.data.warp import common, lay_over

SHOWN_PAIRS, SHOWN_SIDE = 4, 288
_LABEL = 40
REASONS: dict[Verdict, str] = {
    "unclear": "no displacement is sure",
    "too far": "the displacement is too large",
    "two shapes": "the two pictures have different aspect ratios",
    "too small": "the pictures are too small",
}
"""Why a pair is left as it is."""


@dataclass(frozen=True)
class Aligned:
    """A pair of the copy."""

    pair: Pair
    registration: Registration


def check_copy(folder: Path, source: Path) -> Path:
    """Return `folder` where an aligned copy of the pairs at `source` can be put; else UserError, one line."""
    check_output_folder(folder, "--align")
    root = (source if source.is_dir() else source.parent).resolve()
    if folder.resolve().is_relative_to(root):
        raise UserError(f"--align {folder} lies in {root}, whose pairs are to be aligned; name a folder outside it")
    if folder.exists():
        raise UserError(f"--align {folder} exists already; remove it or name another folder")
    return folder


def write_aligned(
    folder: Path,
    source: Source,
    seen: Sequence[Inspected],
    direction: Direction,
    run: Callable[[Callable[[Inspected], Aligned]], list[Aligned]],
) -> list[Aligned]:
    """Write an aligned copy of pairs that can be read, whole or not at all; returns what became of each.

    Whatever the layout was, the copy has folders: train/A, train/B, val/A and so on, with the pairs' own names, A and B
    as `direction` says. Pairs that do not move are copied byte for byte, halves of pictures as PNG;
    those that do are written as PNG, since a second JPEG would lose again what the first has kept.

    Args:
        run: calls a function of one pair for all of `seen`, in any order, and returns the results in theirs.

    Raises UserError where `folder` exists, or where names do not come back as they were from what was written.
    """
    with atomic_folder(folder) as copy:
        done = run(lambda each: _write(copy, source, each, direction))
        found = open_source(DataConfig(path=str(copy), layout="folders", val_share=0.0))
        if {(p.split, p.name) for p in found.pairs} != {(each.pair.split, each.pair.name) for each in seen}:
            raise UserError(f"--align {folder}: not all names of pairs can be names of files; rename their pictures")
    return done


def _write(copy: Path, source: Source, each: Inspected, direction: Direction) -> Aligned:
    pair = each.pair
    cond, x0 = source.read(pair)
    registration = Registration("two shapes") if differs(each) else register(cond, x0)
    moved = registration.verdict == "moved"
    pictures = lay_over(cond, x0, registration.move) if moved else (cond, x0)
    sides = "AB" if direction == "forward" else "BA"
    for side, picture, locator in zip(sides, pictures, pair.locators, strict=True):
        place = copy / pair.split / side
        place.mkdir(parents=True, exist_ok=True)
        suffix = "" if locator is None else locator.path.suffix.lower()
        if moved or locator is None or locator.half or suffix not in PLAIN:
            save_picture(place / f"{pair.name}.png", picture)
        else:
            shutil.copyfile(locator.path, place / f"{pair.name}{suffix}")
    return Aligned(pair, registration)


def left_alone(done: Sequence[Aligned]) -> list[str]:
    """A line for each pair that was left as it is because no displacement is sure."""
    return [
        f"{each.pair.split} {each.pair.name}: {REASONS[each.registration.verdict]}"
        + (f" ({each.registration.displacement:.0f} px)" if each.registration.verdict == "too far" else "")
        for each in done
        if each.registration.verdict in REASONS
    ]


def summary(done: Sequence[Aligned]) -> str:
    """One line: how many pairs were moved, by how much, and how many were not."""
    counts = Counter(each.registration.verdict for each in done)
    moves = [each.registration.displacement for each in done if each.registration.verdict == "moved"]
    how_far = f" by {np.median(moves):.1f} px (median; {max(moves):.1f} px at most)" if moves else ""
    alone = sum(counts[reason] for reason in REASONS)
    return f"{len(moves)} moved{how_far}, {counts['aligned']} aligned already, {alone} left as they are"


def as_json(folder: Path, done: Sequence[Aligned]) -> dict[str, object]:
    """What became of every pair; pixels are those of cond, angles degrees, clockwise."""
    moves = [each.registration.displacement for each in done if each.registration.verdict == "moved"]
    return {
        "path": str(folder),
        "counts": dict(Counter(each.registration.verdict for each in done)),
        "median_px": float(np.median(moves)) if moves else None,
        "most_px": max(moves, default=None),
        "pairs": [{"split": each.pair.split, "name": each.pair.name, **_numbers(each.registration)} for each in done],
    }


def _numbers(found: Registration) -> dict[str, object]:
    if found.verdict not in ("moved", "aligned"):
        return {"verdict": found.verdict}
    return {
        "verdict": found.verdict,
        "displacement_px": found.displacement,
        "right_px": found.move.w.real,
        "down_px": found.move.w.imag,
        "turn_degrees": math.degrees(cmath.phase(found.move.z)),
        "scale": abs(found.move.z),
        "error_px": found.error,
        "peak": found.peak,
    }


def overlays(source: Source, done: Sequence[Aligned]) -> np.ndarray | None:
    """The pairs that moved most: cond, and the edges of cond in red over those of x0 in cyan, before and after.

    Where both have an edge, it is white. uint8 (height, width, 3), or None where nothing moved.
    """
    moved = [each for each in done if each.registration.verdict == "moved"]
    most = sorted(moved, key=lambda each: -each.registration.displacement)[:SHOWN_PAIRS]
    return grid([[_overlay(source, each)] for each in most]) if most else None


def _overlay(source: Source, each: Aligned) -> np.ndarray:
    cond, x0 = source.read(each.pair)
    height, width = cond.shape[:2]
    left, top, right, bottom = common(each.registration.move, height, width)
    here, after = lay_over(cond, x0, each.registration.move)
    pictures = [here, resize(x0, height, width)[top:bottom, left:right], after]
    # No larger than they were compared at, so that what is seen is what was measured; and no smaller than the window.
    scale = max(min(1.0, WORKING_SIDE / max(height, width)), SHOWN_SIDE / min(here.shape[:2]))
    size = [math.ceil(side * scale) for side in here.shape[:2]]
    pictures = [resize(picture, *size) for picture in pictures]
    lines = [_lines(picture) for picture in pictures]
    both = np.minimum(lines[0], lines[2])
    step = SHOWN_SIDE // 4
    corners = [
        (y, x) for y in range(0, size[0] - SHOWN_SIDE + 1, step) for x in range(0, size[1] - SHOWN_SIDE + 1, step)
    ]
    y, x = max(corners, key=lambda at: float(both[at[0] : at[0] + SHOWN_SIDE, at[1] : at[1] + SHOWN_SIDE].sum()))
    part = (slice(y, y + SHOWN_SIDE), slice(x, x + SHOWN_SIDE))
    shown = [np.stack([lines[0], other, other], -1)[part] for other in lines[1:]]
    name = f"{each.pair.split} {each.pair.name}"
    name = name if len(name) <= _LABEL else f"{name[: _LABEL - 2]}.."
    titles = [name, f"edges, up to {each.registration.displacement:.1f} px apart", "edges of the aligned copy"]
    return grid([[pictures[0][part], *((255 * one).astype(np.uint8) for one in shown)]], titles)


def _lines(picture: np.ndarray) -> np.ndarray:
    """How strong the edges are, 0 to 1, whatever the light; (height, width)."""
    strength = edges(picture.astype(np.float32).mean(-1))
    low, high = np.quantile(strength, (0.5, 0.98))
    return np.clip((strength - low) / (high - low + 1e-6), 0.0, 1.0)
