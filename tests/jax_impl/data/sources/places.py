"""Pairs on disk for tests, in flat colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from jax_impl.config.data import DataConfig
from jax_impl.data.pairs import read_pair
from jax_impl.data.sources import Source, open_source

DAWN, DUSK = (40, 90, 200), (220, 120, 30)


def paint(path: Path, *colours: tuple[int, int, int], width: int = 12, height: int = 10) -> Path:
    """A PNG of flat colours side by side, each `width` wide."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.concatenate([np.full((height, width, 3), colour, np.uint8) for colour in colours], axis=1)
    Image.fromarray(picture).save(path)
    return path


def folders(root: Path, stems: list[str], a: str = "A", b: str = "B") -> Path:
    for stem in stems:
        paint(root / a / f"{stem}.png", DAWN)
        paint(root / b / f"{stem}.png", DUSK)
    return root


def find(path: Path, **settings: object) -> Source:
    return open_source(DataConfig(path=str(path), **settings))  # pyright: ignore[reportArgumentType]


def colours(source: Source) -> set[tuple[tuple[int, ...], ...]]:
    """The first pixels of cond and x0 of every training pair."""
    return {tuple(tuple(picture[0, 0].tolist()) for picture in read_pair(pair)) for pair in source.splits["train"]}


def names(source: Source, split: str) -> list[str]:
    return [pair.name for pair in source.splits[split]]
