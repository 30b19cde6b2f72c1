"""How many pictures are called unlike the training inputs: of held-out pairs, of other data, of sample photos.

`python -m tests.figures.likeness DIR [DIR ...]` takes folders of pairs; `DIR:reverse` for pairs whose input is the
second picture. scikit-image's sample photos and the built-in scenes are always there.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import skimage.data

from export.edge.errors import UserError, run
from export.edge.model.likeness import Likeness, features
from export.edge.pictures.arrays import fit_square
from jax_impl.config.data import DataConfig
from jax_impl.data.loader import load
from jax_impl.runs.likeness import likeness_of
from tests.figures.counts import check_counts

SCENES = "built-in scenes"
PHOTOS = "sample photos"
SAMPLES = ("astronaut", "chelsea", "coffee", "rocket", "retina", "hubble_deep_field", "brick", "grass", "gravel")
"""Those that are photographs and come with scikit-image."""
DAMAGES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "upside down": lambda pictures: pictures[:, ::-1],
    "inverted": lambda pictures: 255 - pictures,
    "noise": lambda pictures: np.random.default_rng(0).integers(0, 256, pictures.shape, np.uint8),
}
"""Of own held-out inputs."""


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.figures.likeness", description=__doc__)
    parser.add_argument("data", nargs="+", help="folders of pairs; DIR:reverse for the other direction")
    parser.add_argument("--size", type=int, default=64, help="side of pictures, pixels (default: 64)")
    arguments = parser.parse_args(argv)
    check_counts(arguments, "size")
    configs = {SCENES: DataConfig(synthetic_pairs=1024, synthetic_val_pairs=100, size=arguments.size)}
    for place in arguments.data:
        path, _, direction = place.partition(":")
        if direction not in ("", "reverse"):
            raise UserError(f"{place} has the direction {direction}: write DIR, or DIR:reverse")
        name = Path(path).name + (", reverse" if direction else "")
        configs[name] = DataConfig(path=path, direction="reverse" if direction else "forward", size=arguments.size)
    held_out = {name: load(config, "val").cond for name, config in configs.items()} | {PHOTOS: photos(arguments.size)}
    tried = [*held_out, *DAMAGES]
    print("| trained on (inputs) | " + " | ".join(tried) + " |\n|---|" + len(tried) * "---|")
    for name, config in configs.items():
        pairs = load(config, "train")
        known = likeness_of(pairs)
        if known is None:
            raise UserError(f"{name} has too few different inputs for a likeness")
        columns = held_out | {damage: change(held_out[name]) for damage, change in DAMAGES.items()}
        shares = [f"{100 * unlike(known, pictures):.0f} %" for pictures in columns.values()]
        different = len(np.unique(pairs.cond.reshape(len(pairs.cond), -1), axis=0))
        print(f"| {name} ({different}) | " + " | ".join(shares) + " |", flush=True)


def photos(size: int) -> np.ndarray:
    """Sample photos of scikit-image, uint8 (photos, size, size, 3)."""
    made = (getattr(skimage.data, name)() for name in SAMPLES)
    colour = (photo if photo.ndim == 3 else np.repeat(photo[..., None], 3, axis=2) for photo in made)
    return np.stack([fit_square(np.ascontiguousarray(photo[..., :3]), size, "crop") for photo in colour])


def unlike(known: Likeness, pictures: np.ndarray) -> float:
    """Share of pictures, uint8 (n, height, width, 3), that are called unlike."""
    return float((known.parts(np.stack([features(picture) for picture in pictures])).max(axis=1) > 1.0).mean())


if __name__ == "__main__":
    run(main)
