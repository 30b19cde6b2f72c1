"""A pair of pictures: its name, its scene, and where its two pictures are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from export.edge.errors import UserError
from export.edge.pictures.files import open_picture

Half = Literal["left", "right"]
Pictures = tuple[np.ndarray, np.ndarray]
"""cond and x0, each uint8 (height, width, 3)."""


@dataclass(frozen=True, slots=True)
class Locator:
    """Where one picture is: a file, or one half of it."""

    path: Path
    half: Half | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """Two pictures of one scene; `name` is unique within its split."""

    name: str
    split: str = "train"
    """train, val or test."""
    scene: str = ""
    """What the names of this scene's frames have in common; empty where names do not tell."""
    cond: Locator | None = None
    """The file of the guiding picture; None where the source keeps its pictures in another way."""
    x0: Locator | None = None
    """The file of the target, likewise."""
    key: Any = None
    """What the source's reader finds the pair by, where that is not its files: any value that can be compared."""

    @property
    def locators(self) -> tuple[Locator | None, Locator | None]:
        """The files of cond and x0."""
        return self.cond, self.x0


def reversed_pair(pair: Pair) -> Pair:
    """The pair in the other direction."""
    return replace(pair, cond=pair.x0, x0=pair.cond)


def read_pair(pair: Pair) -> Pictures:
    """The two pictures of a pair of files, each uint8 (height, width, 3), at their own sizes.

    Raises UserError naming a file that cannot be read.
    """
    if pair.cond is None or pair.x0 is None:
        raise TypeError(f"pair {pair.name} has no files: its source needs a reader of its own")
    picture = open_picture(pair.cond.path)
    other = picture if pair.x0.path == pair.cond.path else open_picture(pair.x0.path)
    return _part(picture, pair.cond), _part(other, pair.x0)


def where(pair: Pair, side: int, root: Path | None = None) -> str:
    """What to call a picture of a pair (side 0 is cond, 1 is x0): its path, from `root` where it lies there."""
    locator = pair.locators[side]
    if locator is None:
        return f"{pair.name} ({'target' if side else 'input'})"
    path = locator.path
    if root is not None:
        folder = (root if root.is_dir() else root.parent).resolve()
        path = path.resolve().relative_to(folder) if path.resolve().is_relative_to(folder) else path
    return f"{path} ({locator.half} half)" if locator.half else str(path)


def _part(picture: np.ndarray, locator: Locator) -> np.ndarray:
    """The half of a picture that `locator` names; the middle column of an odd width belongs to neither."""
    if locator.half is None:
        return picture
    half = picture.shape[1] // 2
    if half < 1:
        raise UserError(f"{locator.path} is 1 pixel wide and has no two halves; remove it or choose another layout")
    return picture[:, :half] if locator.half == "left" else picture[:, -half:]
