"""Example pictures, painted: lakes at sunrise, for who has no photo at hand."""

from __future__ import annotations

import numpy as np

HEIGHT, WIDTH = 600, 900
TITLES = ("Still lake at sunrise", "High peaks at sunrise", "Misty hills at sunrise")
"""What each scene shows, for who cannot see it; as many as there are scenes."""

_SKIES = (
    ((104, 124, 178), (236, 200, 188), (255, 226, 190)),
    ((118, 132, 196), (218, 176, 190), (252, 214, 178)),
    ((140, 158, 190), (232, 212, 200), (250, 232, 206)),
)
"""Colours of each scene's sky: overhead, halfway down, at the horizon."""
_SUNS = ((0.24, 0.37), (0.68, 0.30), (0.42, 0.34))
"""Where each sun stands: share of the width, share of the height."""
_HORIZON = 0.56
_LAYERS = 4


def paint_scene(scene: int) -> np.ndarray:
    """Scene number `scene`, uint8 (HEIGHT, WIDTH, 3), always the same to the last bit of the generator."""
    rng = np.random.default_rng(scene)
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float64)
    y, x = y / HEIGHT, x / WIDTH
    sun_x, sun_y = _SUNS[scene]
    distance = np.hypot((x - sun_x) * WIDTH / HEIGHT, y - sun_y)
    land = _land(_clouds(_sky(scene, y), rng, y), rng, scene, distance)
    picture = _water(land, rng, scene, x, y)
    picture = _reeds(picture, rng)
    return np.floor(np.clip(picture, 0.0, 255.0) + 0.5).astype(np.uint8)


def _sky(scene: int, y: np.ndarray) -> np.ndarray:
    stops = (0.0, 0.6 * _HORIZON, _HORIZON)
    return np.stack([np.interp(y, stops, [colour[c] for colour in _SKIES[scene]]) for c in range(3)], -1)


def _clouds(sky: np.ndarray, rng: np.random.Generator, y: np.ndarray) -> np.ndarray:
    """Streaks of lit cloud: noise drawn out sideways."""
    streaks = _smooth(rng, (HEIGHT // 6, WIDTH // 60)) + 0.5 * _smooth(rng, (HEIGHT // 3, WIDTH // 24))
    cover = 0.55 * np.clip(streaks - 0.85, 0.0, 0.4) / 0.4 * np.clip(1.25 - y / _HORIZON, 0.0, 1.0)
    return _mix(sky, (255, 222, 208), cover)


def _land(picture: np.ndarray, rng: np.random.Generator, scene: int, distance: np.ndarray) -> np.ndarray:
    """The sun with its glow, and before it the ridges, each nearer one darker."""
    picture = _mix(picture, (255, 240, 214), 0.8 * np.exp(-distance / 0.16))
    picture = _mix(picture, (255, 250, 236), np.clip((0.032 - distance) * HEIGHT / 2, 0.0, 1.0))
    rows = np.arange(HEIGHT)[:, None]
    for layer in range(_LAYERS):
        nearness = (layer + 1) / _LAYERS
        height = (0.24, 0.34, 0.16)[scene] * (1.0 - 0.72 * nearness)
        top = (_HORIZON - height * (0.25 + 0.75 * _ridge(rng, scene, layer))) * HEIGHT
        inside = np.clip(rows - top + 0.5, 0.0, 1.0)
        haze = np.clip((rows / HEIGHT - (_HORIZON - height)) / height, 0.0, 1.0) * (1.0 - nearness) * 0.5
        colour = np.array((176, 150, 158)) * (1 - nearness) + np.array((52, 46, 62)) * nearness
        lit = colour + np.exp(-distance / 0.3)[..., None] * np.array((60, 34, 14)) * (1.0 - 0.5 * nearness)
        picture = _mix(picture, _mix(lit, (244, 214, 196), haze), inside)
    return picture


def _ridge(rng: np.random.Generator, scene: int, layer: int) -> np.ndarray:
    """Height of a ridge along the width, 0 to 1: octaves of noise, pointed in the mountains."""
    line = np.zeros(WIDTH)
    for octave in range(6):
        noise = _smooth(rng, (1, 3 * 2**octave + layer))[0]
        sharp = 1.0 - np.abs(2.0 * noise - 1.0) if scene == 1 else noise
        line += 0.5**octave * sharp
    return (line - line.min()) / np.ptp(line)


def _water(picture: np.ndarray, rng: np.random.Generator, scene: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Below the horizon the picture above it, upside down, rippled, darker, with the sun's path on it."""
    depth = np.clip(y - _HORIZON, 0.0, 1.0)
    ripple = (_smooth(rng, (HEIGHT // 4, WIDTH // 50)) - 0.5) * depth * HEIGHT * 0.22
    shore = int(_HORIZON * HEIGHT)
    rows = np.clip(2 * shore - y * HEIGHT + ripple, 0, shore - 1).astype(int)
    mirrored = picture[rows, np.arange(WIDTH)[None]] * 0.86 + np.array((4, 6, 14))
    path = np.exp(-(((x - _SUNS[scene][0]) / (0.012 + 0.08 * depth)) ** 2)) * (0.4 + ripple / (1.0 + np.abs(ripple)))
    mirrored = _mix(mirrored, (255, 232, 200), np.clip(0.7 * path, 0.0, 0.8))
    return np.where(y[..., None] >= _HORIZON, mirrored, picture)


def _reeds(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Thin dark blades along the lower edge, so that there is detail to keep."""
    dark = np.zeros((HEIGHT, WIDTH))
    for _ in range(260):
        foot, length, lean = rng.uniform(0, WIDTH), rng.beta(1.4, 4.0) * 0.3 * HEIGHT, rng.normal(0.0, 0.1)
        up = np.arange(int(length))
        column = foot + lean * up + 0.5 * lean * up**2 / max(length, 1.0)
        width = 0.4 + 1.3 * (1.0 - up / max(length, 1.0))
        for offset in range(-2, 3):
            place = np.round(column).astype(int) + offset
            inside = (place >= 0) & (place < WIDTH)
            strength = np.clip(width + 0.5 - np.abs(place - column), 0.0, 1.0)
            rows = HEIGHT - 1 - up[inside]
            dark[rows, place[inside]] = np.maximum(dark[rows, place[inside]], strength[inside])
    bank = HEIGHT * (0.965 - 0.03 * _smooth(rng, (1, 7))[0])
    dark = np.maximum(dark, np.clip(np.arange(HEIGHT)[:, None] - bank, 0.0, 1.0))
    return _mix(picture, (24, 20, 28), dark)


def _mix(picture: np.ndarray, colour: np.ndarray | tuple[int, int, int], share: np.ndarray) -> np.ndarray:
    """`picture`, (h, w, 3), with `share`, (h, w) in 0 ... 1, of another colour laid over it."""
    return picture + (np.asarray(colour, np.float64) - picture) * share[..., None]


def _smooth(rng: np.random.Generator, knots: tuple[int, int]) -> np.ndarray:
    """Noise in 0 ... 1 over the picture, smooth between `knots` (rows, columns) random values; one row for one."""
    values = rng.uniform(size=(knots[0] + 1, knots[1] + 1))
    rows = _between(values, HEIGHT if knots[0] > 1 else 1, knots[0])
    return _between(rows.T, WIDTH, knots[1]).T


def _between(values: np.ndarray, size: int, knots: int) -> np.ndarray:
    place = np.arange(size) * knots / size
    first = place.astype(int)
    share = place - first
    share = (share * share * (3.0 - 2.0 * share))[:, None]
    return values[first] * (1.0 - share) + values[first + 1] * share
