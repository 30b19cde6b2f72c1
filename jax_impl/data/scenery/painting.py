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
SUN_RADIUS = 0.02
"""Radius of the disc, a share of the picture's side; larger than life, as the eye remembers it."""


def _colour(red: float, green: float, blue: float) -> np.ndarray:
    return np.array([red, green, blue], np.float32)[:, None, None]


ROCK, FOREST, GRASS = _colour(0.10, 0.095, 0.09), _colour(0.035, 0.045, 0.03), _colour(0.17, 0.215, 0.095)
"""Reflectance of bare rock, trees and meadow."""
SNOW = np.float32(0.65)
DEEP_WATER, INK, LAMP = _colour(0.010, 0.022, 0.030), _colour(0.010, 0.012, 0.016), _colour(1.0, 0.55, 0.16)


@dataclass(frozen=True)
class Mood:
    """How an hour turns the scene's own numbers into air and light. One fixed rule for all scenes."""

    lift: float
    """Degrees added to the sun's elevation after `slant`."""
    slant: float
    """Factor on the sun's elevation: a smaller one makes a longer, redder path."""
    aerosol: float
    """Factor on the haze: the night has washed the morning's air, the day has stirred up the evening's."""
    ozone: float
    mist: float
    gain: tuple[float, float, float]
    """White balance, gold light."""
    rose: tuple[float, float, float]
    """What is added to `gain` in rose light."""
    cloud: tuple[float, float, float]
    """Tint of sunlit cloud."""
    shade: float
    """Skylight in the shadow of clouds."""
    saturation: float
    exposure: float


MOODS: dict[Hour, Mood] = {
    "sunrise": Mood(
        lift=2.4, slant=0.85, aerosol=0.8, ozone=1.0, mist=1.0, gain=(0.98, 1.0, 1.1), rose=(0.0, -0.05, 0.1),
        cloud=(1.06, 0.91, 1.06), shade=0.19, saturation=1.14, exposure=0.54,
    ),
    "sunset": Mood(
        lift=0.0, slant=0.5, aerosol=1.5, ozone=1.4, mist=0.2, gain=(1.12, 1.0, 0.74), rose=(0.0, -0.08, 0.3),
        cloud=(1.0, 1.0, 1.0), shade=0.13, saturation=1.24, exposure=0.345,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Light:
    """The light of one hour on one scene; colours are linear RGB (3, 1, 1)."""

    mood: Mood
    air: atmosphere.Air
    sun_x: float
    sun_y: float
    gain: np.ndarray
    sun: np.ndarray
    """Sunlight on the ground."""
    cloud: np.ndarray
    """Sunlight at the height of the clouds."""
    ambient: np.ndarray
    """Light of the whole sky."""
    mist: float


def daylight(scene: Scene, hour: Hour) -> Light:
    """The light of sunrise or sunset; every difference is a fixed rule, so that one picture tells the other."""
    mood = MOODS[hour]
    degrees = mood.lift + mood.slant * (1.5 + 14.0 * scene.sun_up)
    air = atmosphere.Air(sun_degrees=degrees, aerosol=mood.aerosol * scene.haze, ozone=mood.ozone)
    gain = np.array(mood.gain) + scene.rose * np.array(mood.rose)
    low, middle, high = atmosphere.sunlight(air, np.array([1.0, 3.5, 8.0])).T
    return Light(
        mood=mood,
        air=air,
        sun_x=scene.sun_x if hour == "sunrise" else 1.0 - scene.sun_x,
        sun_y=scene.shore - scene.sun_up,
        gain=_colour(*gain),
        sun=_colour(*(low * gain)),
        cloud=_colour(*(middle * gain * mood.cloud)),
        ambient=_colour(*((0.5 + 0.5 * high) * gain * (0.55, 0.68, 1.0))),
        mist=mood.mist * scene.mist,
    )


def _mix(under: np.ndarray, over: np.ndarray, share: np.ndarray | np.float32) -> np.ndarray:
    return under + share * (over - under)


def _angle_cosine(stage: Stage, scene: Scene, light: Light) -> np.ndarray:
    """Cosine of the angle between every pixel's ray and the sun, (size, size)."""
    azimuth = (stage.x - np.float32(light.sun_x)) * np.float32(VIEW)
    elevation = (np.float32(scene.shore) - stage.y) * np.float32(VIEW)
    sun = np.float32(scene.sun_up * VIEW)
    return np.cos(elevation) * np.cos(sun) * np.cos(azimuth) + np.sin(elevation) * np.sin(sun)


def _clear_sky(stage: Stage, scene: Scene, light: Light, cosine: np.ndarray) -> np.ndarray:
    """The sky without clouds (3, size, size), exposed so that its mean is the same in every scene."""
    elevation = np.maximum(scene.shore - stage.y[:, 0].astype(float), 0.0) * VIEW
    planes = atmosphere.sky(atmosphere.sky_columns(light.air, elevation), cosine) * light.gain
    mean = float(film.luminance(planes)[: max(int(scene.shore * len(stage.y)), 1)].mean())
    return planes * np.float32(light.mood.exposure / mean)


def _with_clouds(
    base: np.ndarray, clouds: CloudField, stage: Stage, light: Light, cosine: np.ndarray, thick: float, opaque: float
) -> np.ndarray:
    """Cloud lit from the side and below: dense parts shade themselves (Beer-Lambert), flanks towards the sun glow."""
    rows = len(clouds.density)
    dx, dy = np.float32(light.sun_x) - stage.x, np.float32(light.sun_y) - stage.y[:rows]
    away = np.sqrt(dx * dx + dy * dy + np.float32(0.02))
    facing = np.clip(0.5 - 0.035 * (clouds.grow_x * dx + clouds.grow_y * dy) / away, 0.0, 1.0)
    depth = np.float32(thick) * clouds.density
    through = np.exp(-2.2 * depth)
    glow = 0.35 + 0.11 * atmosphere.forward_phase(cosine[:rows], 0.72)
    lit = light.cloud * (1.25 * glow * (0.32 + 0.68 * through) * (0.4 + 1.2 * facing))
    shade = light.ambient * (np.float32(light.mood.shade) * (1.2 - 0.5 * clouds.density))
    share = 1.0 - np.exp(np.float32(-opaque) * depth)
    out = base.copy()
    out[:, :rows] = _mix(base[:, :rows], lit + shade + 0.15 * base[:, :rows], share)
    return out


def _with_ridges(picture: np.ndarray, horizon: np.ndarray, stage: Stage, scene: Scene, light: Light) -> np.ndarray:
    """Ridges from far to near: lit rock, forest or snow, then air and valley mist in front (aerial perspective)."""
    side = np.float32(np.sign(light.sun_x - 0.5))
    haze = horizon * np.float32(0.34) + light.ambient * np.float32(0.13)
    for ridge, field in zip(scene.ridges, stage.ridges, strict=True):
        rows = slice(field.top, field.top + len(field.cover))
        facing = np.clip(0.3 + 1.3 * side * field.slope, 0.0, 1.3)
        surface = (FOREST if ridge.forest > 0.0 else ROCK) * (1.0 - field.snow) + SNOW * field.snow
        lit = surface * (0.26 * light.ambient + 2.0 * light.sun * facing)
        body = _mix(lit, haze, np.float32(ridge.distance ** (1.0 / (0.6 + 0.4 * scene.haze))))
        valley = np.exp(field.height * np.float32(-1.0 / (0.02 + 0.035 * scene.mist)))
        mist = np.clip(np.float32(light.mist) * valley * (1.0 + 0.9 * stage.mist[rows]), 0.0, 0.95)
        body = _mix(body, haze * 1.05 + 0.05 * light.ambient, mist)
        picture[:, rows] = _mix(picture[:, rows], body, field.cover)
    return picture


def _water(picture: np.ndarray, stage: Stage, scene: Scene, light: Light, free: float) -> np.ndarray:
    """The lower rows as water: the bent mirror image of what stands above the shore, and the sun's glitter path.

    Reflectance falls towards our feet as Fresnel's law has it, gently enough to keep the foreground readable.
    """
    ground, size = stage.ground, picture.shape[1]
    depth = ground.depth
    rough = np.float32(1.0 - 0.85 * scene.calm)
    waves = rough * (0.7 * ground.wave + 0.5 * ground.chop)
    mirrored = 2 * np.float32(scene.shore) - stage.y[ground.top :] + 0.10 * waves * depth**0.6 - 0.01 * rough
    row = np.clip(mirrored * size - 0.5, 0.0, max(scene.shore * size - 1.5, 0.0)).astype(np.float32)
    whole = row.astype(np.int32)
    index = whole * size + np.arange(size, dtype=np.int32)
    flat = picture.reshape(3, -1)
    upper, lower = flat.take(index, axis=1), flat.take(np.minimum(index + size, size * size - 1), axis=1)
    mirror = _mix(upper, lower, row - whole)
    grazing = np.clip(1.0 - (0.15 + 0.55 * depth) * (1.0 + 0.9 * waves), 0.0, 1.0)
    spread = 0.012 + 0.10 * depth * (0.35 + rough)
    path = np.exp(-(((stage.x - np.float32(light.sun_x)) / spread) ** 2))
    facets = smoothstep(0.05, 0.75, ground.chop + 0.6 * ground.wave + 0.25 * path)
    spark = facets * (0.35 + rough) + 0.12 * (1.0 - rough)
    glitter = light.sun * (np.float32(4.0 * free) * path * spark)
    return mirror * (0.25 + 0.7 * grazing * grazing) + DEEP_WATER * light.ambient + glitter


def _meadow(stage: Stage, light: Light) -> np.ndarray:
    """The lower rows as grass: tufts in skylight, golden on the side where the low sun shines through the blades."""
    depth = stage.ground.depth
    tufts = np.clip(0.85 + 1.9 * stage.ground.texture, 0.15, 2.2)
    broad = np.exp(-(((stage.x - np.float32(light.sun_x)) / 0.4) ** 2))
    return GRASS * tufts * ((0.62 - 0.3 * depth) * light.ambient + light.sun * (0.3 + 1.1 * broad * (1.15 - depth)))


def _with_ground(picture: np.ndarray, stage: Stage, scene: Scene, light: Light, free: float) -> np.ndarray:
    """Everything below the shore, and the mist that lies along it."""
    ground, size = stage.ground, picture.shape[1]
    shore = np.float32(scene.shore)
    floor = _meadow(stage, light) if scene.ground == "meadow" else _water(picture, stage, scene, light, free)
    if scene.ground == "stream":
        floor = _mix(_meadow(stage, light), floor, ground.water)
    rows = slice(ground.top, size)
    picture[:, rows] = _mix(picture[:, rows], floor, smoothstep(-0.5, 0.5, (stage.y[rows] - shore) * size))
    bed = np.exp(np.abs(stage.y - shore) * np.float32(-1.0 / (0.03 + 0.05 * scene.mist)))
    mist = np.clip(np.float32(light.mist) * bed * (0.75 + 0.9 * stage.mist), 0.0, 0.9)
    behind = picture[:, max(ground.top - 1, 0)].mean(axis=1)[:, None, None]
    colour = 0.4 * behind + np.float32(0.37 * light.mood.exposure) * light.ambient + 0.08 * light.sun
    return _mix(picture, colour, mist)


def _free_sun(stage: Stage, light: Light) -> float:
    """Share of the sun's light that ridges and clouds leave over for the water."""
    size = len(stage.y)
    column = min(int(light.sun_x * size), size - 1)
    row = min(max(int(light.sun_y * size), 0), len(stage.clouds.density) - 1)
    free = [np.clip((field.skyline[column] - light.sun_y) / 0.03 + 0.5, 0.0, 1.0) for field in stage.ridges]
    return float(min(free, default=1.0)) * float(np.exp(-2.0 * stage.clouds.density[row, column]))


def _sun_disc(stage: Stage, light: Light) -> np.ndarray:
    """The disc (3, size, size), darker towards its limb, where neither land nor cloud stands before it."""
    size = len(stage.y)
    away = np.sqrt((stage.x - np.float32(light.sun_x)) ** 2 + (stage.y - np.float32(light.sun_y)) ** 2)
    disc = np.clip((SUN_RADIUS - away) * size + 0.5, 0.0, 1.0)
    disc = disc * (1.0 - 0.35 * np.minimum(away / np.float32(SUN_RADIUS), 1.0) ** 2)
    disc[: len(stage.clouds.density)] *= np.exp(-5.0 * stage.clouds.density)
    for field in stage.ridges:
        disc[field.top : field.top + len(field.cover)] *= 1.0 - field.cover
    disc[stage.ground.top :] = 0.0
    return (light.sun / light.sun.max() * np.float32(0.9) + np.float32(0.1)) * (5.0 * disc)


def _with_silhouettes(picture: np.ndarray, stage: Stage, light: Light, near: np.ndarray) -> np.ndarray:
    """Ink for what stands against the light, a little warmer around the sun; a lamp in the window."""
    ink = INK * light.ambient + 0.02 * light.sun * np.exp(near * np.float32(-1.0 / 0.06))
    picture = _mix(picture, 2.0 * ink, np.float32(0.7) * stage.mirrored)
    picture = _mix(picture, ink, stage.dark)
    return _mix(picture, LAMP, np.float32(0.9) * stage.window)


def paint(stage: Stage, scene: Scene, hour: Hour) -> np.ndarray:
    """Light a stage and develop it: uint8 (size, size, 3)."""
    light = daylight(scene, hour)
    cosine = _angle_cosine(stage, scene, light)
    sky = _clear_sky(stage, scene, light, cosine)
    # The air at the horizon is what hides the ridges.
    horizon = sky[:, min(int(scene.shore * len(stage.y)), len(stage.y)) - 1][:, None, :]
    picture = _with_clouds(sky, stage.veil, stage, light, cosine, 0.8 * scene.veil, 1.0)
    picture = _with_clouds(picture, stage.clouds, stage, light, cosine, 1.0, 3.0)
    picture = _with_ridges(picture, horizon, stage, scene, light)
    free = _free_sun(stage, light)
    picture = _with_ground(picture, stage, scene, light, free)
    picture = picture + _sun_disc(stage, light)
    near = (stage.x - np.float32(light.sun_x)) ** 2 + (stage.y - np.float32(light.sun_y)) ** 2
    picture = _with_silhouettes(picture, stage, light, near)
    # Glare in eye and lens around a free sun.
    picture = picture + light.sun * (np.float32(0.0032 * free) / (near + np.float32(0.012)))
    return film.develop(film.saturate(picture, light.mood.saturation))
