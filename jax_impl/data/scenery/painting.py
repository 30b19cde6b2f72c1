"""Light on a stage: the sky, clouds, ridges, water and silhouettes of one hour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from jax_impl.data.scenery import atmosphere, film
from jax_impl.data.scenery.land import CloudField
from jax_impl.data.scenery.noise import smoothstep
from jax_impl.data.scenery.scene import Scene
from jax_impl.data.scenery.stage import Stage

Hour = Literal["sunrise", "sunset"]

VIEW = 0.9
"""Angle of view across the picture, radians."""


@dataclass(frozen=True)
class Light:
    """The light of one hour."""

    air: atmosphere.Air
    sun_x: float
    sun_y: float
    sun: np.ndarray
    cloud: np.ndarray
    ambient: np.ndarray
    mist: float
    gain: np.ndarray
    saturation: float
    exposure: float
    morning: bool


def daylight(scene: Scene, hour: Hour) -> Light:
    """The light of sunrise or sunset; every difference is a fixed rule, so that one picture tells the other."""
    morning = hour == "sunrise"
    degrees = 1.5 + 14.0 * scene.sun_up
    air = atmosphere.Air(
        sun_degrees=degrees + 1.2 if morning else 0.55 * degrees,
        aerosol=scene.haze * (0.8 if morning else 1.5),
        ozone=1.0 if morning else 1.4,
    )
    rose = scene.rose
    gain = np.array([0.98, 1.0 - 0.05 * rose, 1.1 + 0.1 * rose] if morning else [1.12, 1.0 - 0.08 * rose, 0.74 + 0.3 * rose])
    tint = np.array([1.06, 0.91, 1.06] if morning else [1.0, 1.0, 1.0])
    sun = atmosphere.sunlight(air, np.array([1.0]))[:, 0] * gain
    high = atmosphere.sunlight(air, np.array([8.0]))[:, 0]
    return Light(
        air=air,
        sun_x=scene.sun_x if morning else 1.0 - scene.sun_x,
        sun_y=scene.shore - scene.sun_up,
        sun=sun.astype(np.float32)[:, None, None],
        cloud=(atmosphere.sunlight(air, np.array([3.5]))[:, 0] * gain * tint).astype(np.float32)[:, None, None],
        ambient=((high * 0.5 + 0.5) * gain * np.array([0.55, 0.68, 1.0])).astype(np.float32)[:, None, None],
        mist=scene.mist if morning else 0.2 * scene.mist,
        gain=gain.astype(np.float32)[:, None, None],
        saturation=1.14 if morning else 1.2,
        exposure=0.72 if morning else 0.5,
        morning=morning,
    )


def _angle_cosine(stage: Stage, scene: Scene, light: Light) -> np.ndarray:
    """Cosine of the angle between every pixel's ray and the sun."""
    azimuth = (stage.x - np.float32(light.sun_x)) * np.float32(VIEW)
    elevation = (np.float32(scene.shore) - stage.y) * np.float32(VIEW)
    sun = np.float32(scene.sun_up * VIEW)
    return np.cos(elevation) * np.cos(sun) * np.cos(azimuth) + np.sin(elevation) * np.sin(sun)


def _mix(under: np.ndarray, over: np.ndarray, share: np.ndarray) -> np.ndarray:
    return under + share * (over - under)


def _paint_sky(stage: Stage, scene: Scene, light: Light, cosine: np.ndarray) -> np.ndarray:
    elevation = np.maximum(scene.shore - stage.y[:, 0].astype(float), 0.0) * VIEW
    columns = atmosphere.sky_columns(light.air, elevation)
    planes = atmosphere.sky(columns, cosine) * light.gain
    mean = float(film.luminance(planes)[: max(int(scene.shore * len(stage.y)), 1)].mean())
    return planes * np.float32(light.exposure * 0.75 / mean)


def _paint_clouds(base: np.ndarray, clouds: CloudField, stage: Stage, light: Light, cosine: np.ndarray, thick: float, thin: bool) -> np.ndarray:
    """Cloud lit from the side and from below: dense parts shade themselves (Beer-Lambert), edges towards the sun glow."""
    rows = len(clouds.density)
    dx, dy = np.float32(light.sun_x) - stage.x, np.float32(light.sun_y) - stage.y[:rows]
    away = np.sqrt(dx * dx + dy * dy + 0.02)
    facing = np.clip(0.5 - 0.035 * (clouds.grow_x * dx + clouds.grow_y * dy) / away, 0.0, 1.0)
    depth = np.float32(thick) * clouds.density
    through = np.exp(-2.2 * depth)
    glow = 0.35 + 0.11 * atmosphere.forward_phase(cosine[:rows], 0.72)
    lit = light.cloud * (glow * (0.32 + 0.68 * through) * (0.4 + 1.2 * facing)) * np.float32(1.25)
    shade = light.ambient * np.float32(0.19 if light.morning else 0.13) * (1.2 - 0.5 * clouds.density)
    share = 1.0 - np.exp(-(1.0 if thin else 3.0) * depth)
    out = base.copy()
    out[:, :rows] = _mix(base[:, :rows], lit + shade + 0.15 * base[:, :rows], share)
    return out


def _paint_sun(sky: np.ndarray, stage: Stage, light: Light, free: np.ndarray) -> np.ndarray:
    """The disc, darker towards its limb, where `free` of land and cloud."""
    radius = 0.02
    away = np.sqrt((stage.x - np.float32(light.sun_x)) ** 2 + (stage.y - np.float32(light.sun_y)) ** 2)
    disc = np.clip((radius - away) * len(stage.y) + 0.5, 0.0, 1.0) * (1.0 - 0.35 * np.minimum(away / radius, 1.0) ** 2)
    white = light.sun / light.sun.max() * np.float32(0.85) + np.float32(0.15)
    return sky + white * (6.0 * disc * free)


def _paint_ridges(picture: np.ndarray, air: np.ndarray, stage: Stage, scene: Scene, light: Light) -> np.ndarray:
    """Ridges from far to near: lit rock, forest or snow, then air and mist in front (aerial perspective)."""
    side = np.sign(light.sun_x - 0.5)
    for ridge, field in zip(scene.ridges, stage.ridges, strict=True):
        rows = slice(field.top, field.top + field.cover.shape[0])
        facing = np.clip(0.3 + 1.3 * side * field.slope, 0.0, 1.3)
        rock = np.array([0.10, 0.095, 0.09] if ridge.forest == 0.0 else [0.035, 0.045, 0.03], np.float32)[:, None, None]
        surface = rock * (1.0 - field.snow) + np.float32(0.6) * field.snow
        lit = surface * (0.26 * light.ambient + 2.0 * light.sun * facing)
        haze = air[:, rows] * np.float32(0.34) + light.ambient * np.float32(0.13)
        body = _mix(lit, haze, np.float32(ridge.distance ** (1.0 / (0.6 + 0.4 * scene.haze))))
        valley = np.exp(-field.height / np.float32(0.02 + 0.035 * scene.mist))
        mist = np.clip(light.mist * valley * (1.0 + 0.9 * stage.mist[rows]), 0.0, 0.95)
        body = _mix(body, haze * 1.05 + 0.05 * light.ambient, mist)
        picture[:, rows] = _mix(picture[:, rows], body, field.cover)
    return picture


def _paint_ground(picture: np.ndarray, stage: Stage, scene: Scene, light: Light, seen: float) -> np.ndarray:
    """Water mirrors what stands above the shore; meadow is dark, mist lies on both."""
    ground, size = stage.ground, picture.shape[1]
    rows = slice(ground.top, size)
    depth = ground.depth
    rough = np.float32(1.0 - 0.85 * scene.calm)
    waves = rough * (ground.wave * 0.7 + ground.chop * 0.5)
    mirrored = (2 * np.float32(scene.shore) - stage.y[rows]) + 0.10 * waves * depth**0.6 - 0.01 * rough
    row = np.clip(mirrored * size - 0.5, 0.0, max(scene.shore * size - 1.5, 0.0))
    whole = row.astype(np.int32)
    part = row - whole
    index = whole * size + np.arange(size, dtype=np.int32)[None, :]
    flat = picture.reshape(3, -1)
    above = flat.take(index, axis=1)
    mirror = above + part * (flat.take(np.minimum(index + size, size * size - 1), axis=1) - above)
    grazing = np.clip(1.0 - (0.15 + 0.55 * depth) * (1.0 + 0.9 * waves), 0.0, 1.0)
    fresnel = 0.25 + 0.7 * grazing**2
    deep = light.ambient * np.array([0.010, 0.022, 0.030], np.float32)[:, None, None]
    spread = 0.012 + 0.10 * depth * (0.35 + rough)
    path = np.exp(-(((stage.x - np.float32(light.sun_x)) / spread) ** 2))
    spark = smoothstep(0.05, 0.75, ground.chop + 0.6 * ground.wave + 0.25 * path) * (0.35 + rough) + 0.12 * (1 - rough)
    water = mirror * fresnel + deep + light.sun * (np.float32(4.0 * seen) * path * spark)
    earth = np.array([0.22, 0.25, 0.085], np.float32)[:, None, None]
    tufts = np.clip(0.85 + 2.2 * ground.texture, 0.15, 2.2)
    broad = np.exp(-(((stage.x - np.float32(light.sun_x)) / 0.4) ** 2))
    meadow = earth * tufts * ((0.62 - 0.3 * depth) * light.ambient + light.sun * (0.3 + 1.1 * broad * (1.15 - depth)))
    floor = _mix(meadow, water, ground.water) if scene.ground != "water" else water
    below = smoothstep(-0.5, 0.5, (stage.y[rows] - np.float32(scene.shore)) * size)
    picture[:, rows] = _mix(picture[:, rows], floor, below)
    edge = np.abs(stage.y - np.float32(scene.shore))
    mist = np.clip(light.mist * np.exp(-edge / np.float32(0.03 + 0.05 * scene.mist)) * (0.75 + 0.9 * stage.mist), 0.0, 0.9)
    veil = picture[:, max(ground.top - 1, 0)].mean(axis=1)[:, None, None] * 0.4 + 0.28 * light.ambient * light.exposure + 0.08 * light.sun
    return _mix(picture, veil, mist)


def _seen(stage: Stage, light: Light) -> float:
    """Share of the sun's disc that ridges and clouds leave free."""
    size = len(stage.y)
    column = min(int(light.sun_x * size), size - 1)
    row = min(int(light.sun_y * size), len(stage.clouds.density) - 1)
    free = 1.0
    for field in stage.ridges:
        free = min(free, float(np.clip((field.skyline[column] - light.sun_y) / 0.03 + 0.5, 0.0, 1.0)))
    return free * float(np.exp(-2.0 * stage.clouds.density[row, column]))


def paint(stage: Stage, scene: Scene, hour: Hour) -> np.ndarray:
    """Light a stage and develop it: uint8 (size, size, 3)."""
    light = daylight(scene, hour)
    cosine = _angle_cosine(stage, scene, light)
    air = _paint_sky(stage, scene, light, cosine)
    picture = air
    if scene.veil > 0.05:
        picture = _paint_clouds(picture, stage.veil, stage, light, cosine, 0.8 * scene.veil, True)
    rows = len(stage.clouds.density)
    open_sky = np.ones((len(stage.y), len(stage.y)), np.float32)
    open_sky[:rows] = np.exp(-5.0 * stage.clouds.density)
    picture = _paint_clouds(picture, stage.clouds, stage, light, cosine, 1.0, False)
    # The air at the horizon is what hides the ridges.
    horizon = air[:, max(min(int(scene.shore * len(stage.y)), len(stage.y)) - 1, 0)][:, None, :]
    picture = _paint_ridges(picture, np.broadcast_to(horizon, picture.shape), stage, scene, light)
    seen = _seen(stage, light)
    picture = _paint_ground(picture, stage, scene, light, seen)
    for field in stage.ridges:
        open_sky[field.top : field.top + len(field.cover)] *= 1.0 - field.cover
    open_sky[stage.ground.top :] = 0.0
    picture = _paint_sun(picture, stage, light, open_sky)
    near = (stage.x - np.float32(light.sun_x)) ** 2 + (stage.y - np.float32(light.sun_y)) ** 2
    ink = light.ambient * np.array([0.010, 0.012, 0.016], np.float32)[:, None, None]
    picture = _mix(picture, ink + 0.02 * light.sun * np.exp(-near / 0.06), stage.dark)
    if stage.window.size > 1:
        picture = _mix(picture, np.array([1.0, 0.55, 0.16], np.float32)[:, None, None], 0.9 * stage.window)
    # Glare in eye and lens, around a free sun.
    glare = 0.02 / (near + 0.012) * np.float32(seen)
    picture = picture + light.sun * (0.16 * glare)
    return film.develop(film.saturate(picture, light.saturation))


