"""A scene on the pixel grid, before any light falls on it: what sunrise and sunset share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jax_impl.data.scenery import silhouettes
from jax_impl.data.scenery.land import (
    CloudField,
    GroundField,
    RidgeField,
    cloud_field,
    ground_field,
    ridge_field,
)
from jax_impl.data.scenery.noise import fbm, gradient_table
from jax_impl.data.scenery.scene import Scene, generator


@dataclass(frozen=True)
class Stage:
    """A scene on the pixel grid, before any light falls on it."""

    x: np.ndarray
    y: np.ndarray
    clouds: CloudField
    veil: CloudField
    ridges: tuple[RidgeField, ...]
    ground: GroundField
    mist: np.ndarray
    dark: np.ndarray
    window: np.ndarray


def _bank_height(scene: Scene, x: np.ndarray, table: np.ndarray, slope: float) -> np.ndarray:
    """Upper edge (y) of the dark bank at our feet."""
    swell = fbm(np.asarray(x, np.float32) * np.float32(2.3), np.full(np.shape(x), np.float32(41.7)), table, 4)
    return 1.0 - scene.bank * (0.8 + 0.9 * swell) - slope * (np.asarray(x) - 0.5)


def _silhouettes(scene: Scene, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The dark quads in front of everything, and those of lit windows."""
    rng = generator(scene.seed, 2)
    left = rng.random() < 0.5
    slope = (-1.0 if left else 1.0) * rng.uniform(0.0, 0.08)
    has_bank = any(prop in scene.props for prop in ("conifers", "broadleaf", "winter", "reeds", "grass"))
    nothing = np.zeros((0, 4, 2))
    quads, window = [nothing], nothing

    def edge(x: np.ndarray) -> np.ndarray:
        return _bank_height(scene, x, table, slope)

    def place(low: float, high: float, count: int) -> np.ndarray:
        x = rng.uniform(low, high, count)
        return x if left else 1.0 - x

    if has_bank:
        x = np.linspace(0.0, 1.0, 65)
        top = edge(x)
        bottom = np.full(64, 1.1)
        quads.append(
            np.stack(
                [np.stack([x[:-1], top[:-1]], 1), np.stack([x[1:], top[1:]], 1),
                 np.stack([x[1:], bottom], 1), np.stack([x[:-1], bottom], 1)],
                axis=1,
            )
        )  # fmt: skip
        x = rng.uniform(0.0, 1.0, 260)
        tall = rng.uniform(0.025, 0.06) * (2.0 if "grass" in scene.props else 1.0)
        quads.append(silhouettes.blades(rng, x, edge(x), tall, 0.0045))
    for prop in scene.props:
        if prop == "conifers":
            for x in place(-0.02, 0.24, int(rng.integers(1, 5))):
                quads.append(silhouettes.conifer(rng, x, float(edge(np.array([x]))[0]) + 0.02, rng.uniform(0.25, 0.72)))
            for x in place(0.82, 1.02, int(rng.integers(0, 4))):
                quads.append(silhouettes.conifer(rng, x, float(edge(np.array([x]))[0]) + 0.02, rng.uniform(0.12, 0.4)))
        elif prop in ("broadleaf", "winter"):
            x = float(place(0.06, 0.26, 1)[0])
            base = float(edge(np.array([x]))[0]) + 0.03
            leaves = 20 if prop == "broadleaf" else 0
            quads.append(silhouettes.broadleaf(rng, x, base, rng.uniform(0.4, 0.62), leaves))
        elif prop == "reeds":
            x = np.concatenate([place(0.0, 0.3, 24), place(0.7, 1.0, 8)])
            quads.append(silhouettes.reeds(rng, x, edge(x), rng.uniform(0.16, 0.3)))
        elif prop == "hut":
            walls, window = silhouettes.hut(float(place(0.6, 0.85, 1)[0]), scene.shore + 0.05, rng.uniform(0.09, 0.15))
            quads.append(walls)
        elif prop == "boat":
            quads.append(
                silhouettes.boat(rng.uniform(0.3, 0.7), scene.shore + rng.uniform(0.08, 0.2), rng.uniform(0.1, 0.2))
            )
        elif prop == "jetty":
            side = -1.0 if not left else 1.0
            start = 0.0 if left else 1.0
            quads.append(silhouettes.jetty(start, scene.shore + rng.uniform(0.12, 0.22), rng.uniform(0.25, 0.45), side))
        elif prop == "birds":
            quads.append(silhouettes.birds(rng, rng.uniform(0.3, 0.7), scene.shore * rng.uniform(0.25, 0.6), 7))
    return np.concatenate(quads), window


def build_stage(scene: Scene, size: int) -> Stage:
    """Put the scene on a grid of size x size pixels."""
    table = gradient_table(generator(scene.seed, 1))
    x = ((np.arange(size) + 0.5) / size).astype(np.float32)[None, :]
    y = ((np.arange(size) + 0.5) / size).astype(np.float32)[:, None]
    dark, window = _silhouettes(scene, table)
    return Stage(
        x=x,
        y=y,
        clouds=cloud_field(
            scene.shore, size, table, scene.cloud_scale, scene.cloud_stretch, scene.cloud_cover, scene.cloud_billow, 0.1
        ),
        veil=cloud_field(scene.shore, size, table, 0.8 * scene.cloud_scale, 3.5, 0.55, 0.0, 0.5),
        ridges=tuple(ridge_field(ridge, scene.shore, size, table) for ridge in scene.ridges),
        ground=ground_field(scene.shore, size, table, scene.ground, scene.calm, scene.bend),
        mist=fbm(x * 3.0 + 2.0, y * 14.0, table, 4, 14.0 / size),
        dark=silhouettes.coverage(dark, size),
        window=silhouettes.coverage(window, size) if len(window) else np.zeros((1, 1), np.float32),
    )


