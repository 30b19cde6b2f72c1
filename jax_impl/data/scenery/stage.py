"""A scene on the pixel grid, before any light falls on it: what sunrise and sunset share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jax_impl.data.scenery import silhouettes
from jax_impl.data.scenery.land import CloudField, Deck, GroundField, RidgeField, cloud_field, ground_field, ridge_field
from jax_impl.data.scenery.noise import Table, fbm, gradient_table
from jax_impl.data.scenery.scene import Scene, generator
from jax_impl.data.scenery.silhouettes import Quads

_NONE: Quads = np.zeros((0, 4, 2))
_ROOTED = ("conifers", "broadleaf", "winter", "reeds", "grass")
"""Props that need a bank to stand on."""


@dataclass(frozen=True)
class Stage:
    """A scene on the pixel grid; planes are float32 (size, size) unless a field says otherwise."""

    x: np.ndarray
    """(1, size) pixel centres."""
    y: np.ndarray
    """(size, 1) pixel centres."""
    clouds: CloudField
    veil: CloudField
    ridges: tuple[RidgeField, ...]
    ground: GroundField
    mist: np.ndarray
    """Fractal noise of the mist, roughly [-1, 1]."""
    dark: np.ndarray
    """Share of the pixel that a silhouette covers."""
    mirrored: np.ndarray
    """The same for the reflections of boats and landing stages."""
    window: np.ndarray
    """The same for lit windows."""


class _Bank:
    """The dark bank at our feet: where it ends, and places to plant things on it."""

    def __init__(self, scene: Scene, table: Table, rng: np.random.Generator) -> None:
        self.left = bool(rng.random() < 0.5)
        self._rng, self._table, self._height = rng, table, scene.bank
        self._slope = (-1.0 if self.left else 1.0) * rng.uniform(0.0, 0.08)

    def edge(self, x: np.ndarray) -> np.ndarray:
        """Upper edge (y) at x (count,)."""
        swell = fbm(np.asarray(x, np.float32) * np.float32(2.3), np.full(x.shape, np.float32(41.7)), self._table, 4)
        return 1.0 - self._height * (0.8 + 0.9 * swell) - self._slope * (x - 0.5)

    def places(self, low: float, high: float, count: int) -> np.ndarray:
        """Random x (count,) between `low` and `high`, counted from the heavier side of the picture."""
        x = self._rng.uniform(low, high, count)
        return x if self.left else 1.0 - x

    def quads(self) -> Quads:
        """The bank itself."""
        x = np.linspace(0.0, 1.0, 65)
        upper, lower = np.stack([x, self.edge(x)], axis=1), np.stack([x, np.full(65, 1.1)], axis=1)
        return np.stack([upper[:-1], upper[1:], lower[1:], lower[:-1]], axis=1)


@dataclass(frozen=True)
class _Shapes:
    front: Quads
    back: Quads
    mirrored: Quads
    window: Quads


def _foreground(scene: Scene, bank: _Bank, rng: np.random.Generator) -> list[Quads]:
    """The bank, its grass and what grows on it."""
    if not any(prop in _ROOTED for prop in scene.props):
        return [_NONE]
    x = rng.uniform(0.0, 1.0, 260)
    tall = rng.uniform(0.025, 0.06) * (2.0 if "grass" in scene.props else 1.0)
    quads = [bank.quads(), silhouettes.blades(rng, x, bank.edge(x), tall, 0.0045)]
    if "conifers" in scene.props:
        near, far = bank.places(0.0, 0.25, int(rng.integers(1, 5))), bank.places(0.8, 1.02, int(rng.integers(0, 4)))
        x = np.concatenate([near, far])
        tall = np.concatenate([rng.uniform(0.25, 0.72, len(near)), rng.uniform(0.12, 0.4, len(far))])
        quads += [silhouettes.conifer(rng, *tree) for tree in zip(x, bank.edge(x) + 0.02, tall, strict=True)]
    if "broadleaf" in scene.props or "winter" in scene.props:
        x = bank.places(0.06, 0.26, 1)
        leaves = 20 if "broadleaf" in scene.props else 0
        quads.append(silhouettes.broadleaf(rng, x[0], bank.edge(x)[0] + 0.03, rng.uniform(0.4, 0.62), leaves))
    if "reeds" in scene.props:
        x = np.concatenate([bank.places(0.0, 0.3, 24), bank.places(0.7, 1.0, 8)])
        quads.append(silhouettes.reeds(rng, x, bank.edge(x), rng.uniform(0.16, 0.3)))
    return quads


def _shapes(scene: Scene, table: Table) -> _Shapes:
    """Everything that stands dark against the light."""
    rng = generator(scene.seed, 2)
    bank = _Bank(scene, table, rng)
    front = _foreground(scene, bank, rng)
    back, mirrored, window = [_NONE], [_NONE], _NONE
    if "hut" in scene.props:
        place = float(bank.places(0.6, 0.85, 1)[0])
        walls, window = silhouettes.hut(place, scene.shore + rng.uniform(0.03, 0.07), rng.uniform(0.08, 0.13))
        back.append(walls)
    if "boat" in scene.props:
        waterline, width = scene.shore + rng.uniform(0.08, 0.18), rng.uniform(0.1, 0.2)
        vessel = silhouettes.boat(rng.uniform(0.32, 0.68), waterline, width)
        back.append(vessel)
        mirrored.append(silhouettes.mirror(vessel, waterline + 0.05 * width))
    if "jetty" in scene.props:
        waterline = scene.shore + rng.uniform(0.12, 0.22)
        start, side = (0.0, 1.0) if bank.left else (1.0, -1.0)
        stage = silhouettes.jetty(start, waterline, rng.uniform(0.25, 0.45), side)
        back.append(stage)
        mirrored.append(silhouettes.mirror(stage, waterline + 0.02))
    if "birds" in scene.props:
        place, height = rng.uniform(0.3, 0.7), scene.shore * rng.uniform(0.25, 0.6)
        back.append(silhouettes.birds(rng, place, height, int(rng.integers(4, 10))))
    return _Shapes(np.concatenate(front), np.concatenate(back), np.concatenate(mirrored), window)


def build_stage(scene: Scene, size: int) -> Stage:
    """Put the scene on a grid of size x size pixels."""
    table = gradient_table(generator(scene.seed, 1))
    x = ((np.arange(size) + 0.5) / size).astype(np.float32)[None, :]
    y = ((np.arange(size) + 0.5) / size).astype(np.float32)[:, None]
    shapes = _shapes(scene, table)
    front = silhouettes.coverage(shapes.front, size)
    clouds = Deck(scene.cloud_scale, scene.cloud_stretch, scene.cloud_cover, scene.cloud_billow, 0.1)
    return Stage(
        x=x,
        y=y,
        clouds=cloud_field(scene.shore, size, table, clouds),
        veil=cloud_field(scene.shore, size, table, Deck(0.8 * scene.cloud_scale, 3.5, 0.55, 0.0, 0.5)),
        ridges=tuple(ridge_field(ridge, scene.shore, size, table) for ridge in scene.ridges),
        ground=ground_field(scene.shore, size, table, scene.ground, scene.bend),
        mist=fbm(x * 3.0 + 2.0, y * 14.0, table, 4, 14.0 / size),
        dark=1.0 - (1.0 - front) * (1.0 - silhouettes.coverage(shapes.back, size)),
        mirrored=silhouettes.coverage(shapes.mirrored, size),
        window=silhouettes.coverage(shapes.window, size) * (1.0 - front),
    )
