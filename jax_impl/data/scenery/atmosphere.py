"""Daylight through air: the colour of the low sun and of the sky, by single scattering in a layered atmosphere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

EARTH_RADIUS = 6371.0
"""Kilometres."""
# Vertical optical depths at 680, 550 and 440 nm: molecules, a clean load of aerosol, ozone's Chappuis band.
RAYLEIGH_DEPTH = np.array([0.046, 0.108, 0.265])
AEROSOL_DEPTH = np.array([0.020, 0.025, 0.032])
OZONE_DEPTH = np.array([0.0098, 0.0282, 0.0013])
RAYLEIGH_HEIGHT, AEROSOL_HEIGHT, OZONE_HEIGHT = 8.0, 1.3, 25.0
"""Scale heights and the height of the ozone layer, kilometres."""


@dataclass(frozen=True)
class Air:
    """What the air does at one hour: sun's elevation above the true horizon in degrees, aerosol and ozone loads."""

    sun_degrees: float
    aerosol: float
    ozone: float


@dataclass(frozen=True)
class SkyColumns:
    """Light scattered towards the eye from each elevation, (3, rows), before the phase functions."""

    rayleigh: np.ndarray
    mie: np.ndarray
    diffuse: np.ndarray


def _grazing(elevation: float, scale_height: float) -> float:
    """Air mass of a slanted path: Kasten & Young 1989, capped by Chapman's value for a horizontal path."""
    degrees = max(elevation, -0.8)
    mass = 1.0 / (np.sin(np.radians(max(degrees, 0.0))) + 0.50572 * (max(degrees, 0.0) + 6.07995) ** -1.6364)
    limit = np.sqrt(np.pi * EARTH_RADIUS / (2 * scale_height))
    below = 1.0 + 0.6 * max(-degrees, 0.0)
    return float(below * mass / np.sqrt(1.0 + (mass / limit) ** 2) * np.sqrt(1.0 + (38.0 / limit) ** 2 * 0.2))


def sunlight(air: Air, height: np.ndarray) -> np.ndarray:
    """Share of sunlight left at `height` kilometres, (3, ...): Beer-Lambert along the slanted path."""
    height = np.asarray(height, float)[None]
    shape = (3,) + (1,) * (height.ndim - 1)
    rayleigh = RAYLEIGH_DEPTH.reshape(shape) * np.exp(-height / RAYLEIGH_HEIGHT)
    aerosol = air.aerosol * AEROSOL_DEPTH.reshape(shape) * np.exp(-height / AEROSOL_HEIGHT)
    ozone = air.ozone * OZONE_DEPTH.reshape(shape) * (height < OZONE_HEIGHT)
    depth = rayleigh * _grazing(air.sun_degrees, RAYLEIGH_HEIGHT) + aerosol * _grazing(air.sun_degrees, AEROSOL_HEIGHT)
    return np.exp(-depth - ozone * _grazing(air.sun_degrees, 100.0))


def sky_columns(air: Air, elevation: np.ndarray) -> SkyColumns:
    """Single-scattering integrals along rays of `elevation` radians (rows,), after Nishita et al. 1993.

    The sun's path is taken as the same everywhere along the ray, so the integral depends
    on elevation alone and the two phase functions stay outside it. `diffuse` stands for
    the higher orders of scattering: the same path, lit by what the upper air scatters.
    """
    edges = np.concatenate([[0.0], np.geomspace(0.05, 60.0, 28)])
    height = 0.5 * (edges[1:] + edges[:-1])
    sine = np.sin(np.maximum(elevation, 0.0))[:, None]
    cosine_square = 1.0 - sine * sine
    reach = np.sqrt((EARTH_RADIUS + edges) ** 2 - EARTH_RADIUS**2 * cosine_square) - EARTH_RADIUS * sine
    length = np.diff(reach, axis=1)[None]

    rayleigh = (RAYLEIGH_DEPTH / RAYLEIGH_HEIGHT)[:, None, None] * np.exp(-height / RAYLEIGH_HEIGHT) * length
    aerosol = (air.aerosol * AEROSOL_DEPTH / AEROSOL_HEIGHT)[:, None, None] * np.exp(-height / AEROSOL_HEIGHT) * length
    depth = rayleigh + aerosol
    before = np.cumsum(depth, axis=2) - 0.5 * depth
    arriving = np.exp(-before)
    lit = sunlight(air, height)[:, None, :]
    upper = sunlight(air, np.array([6.0, 12.0, 20.0, 30.0])).mean(axis=1) * RAYLEIGH_DEPTH / RAYLEIGH_DEPTH.mean()
    return SkyColumns(
        rayleigh=(rayleigh * arriving * lit).sum(axis=2),
        mie=(aerosol * arriving * lit).sum(axis=2),
        diffuse=(depth * arriving).sum(axis=2) * upper[:, None],
    )


def rayleigh_phase(cosine: np.ndarray) -> np.ndarray:
    """Rayleigh's phase function times 4 pi: 3/4 (1 + cos²)."""
    return 0.75 * (1.0 + cosine * cosine)


def forward_phase(cosine: np.ndarray, asymmetry: float) -> np.ndarray:
    """The phase function of Henyey & Greenstein 1941 times 4 pi, for haze and thin cloud around the sun."""
    g = asymmetry
    return (1.0 - g * g) / (1.0 + g * g - 2.0 * g * cosine) ** 1.5


def sky(columns: SkyColumns, cosine: np.ndarray, asymmetry: float = 0.76) -> np.ndarray:
    """Radiance of the clear sky, float32 (3, height, width), from the cosine of the angle to the sun."""
    aureole, broad = forward_phase(cosine, 0.93), forward_phase(cosine, 0.3)
    glow = 0.12 * aureole + 0.6 * forward_phase(cosine, asymmetry) + 0.28 * broad
    molecules, aerosol = (part.astype(np.float32)[:, :, None] for part in (columns.rayleigh, columns.mie))
    diffuse = np.float32(0.35) * columns.diffuse.astype(np.float32)[:, :, None]
    return molecules * rayleigh_phase(cosine)[None] + aerosol * glow[None] + diffuse
