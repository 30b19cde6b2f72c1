"""What a built-in scene consists of, drawn from its seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from export.edge.errors import UserError
from jax_impl.data.scenery.land import Ridge, skyline
from jax_impl.data.scenery.noise import gradient_table

Ground = Literal["water", "meadow", "stream"]
Prop = Literal["conifers", "broadleaf", "winter", "reeds", "grass", "hut", "boat", "jetty", "birds"]

_FOREGROUNDS: tuple[Prop | None, ...] = ("conifers", "broadleaf", "winter", "reeds", "grass", None)
_FOREGROUND_CHANCES = (0.28, 0.17, 0.1, 0.18, 0.14, 0.13)


@dataclass(frozen=True)
class Scene:
    """Everything drawn for one scene. Lengths are shares of the picture's side; y grows downwards."""

    seed: int
    shore: float
    """y of the line where land or water begins and the sky's elevation is zero."""
    sun_x: float
    """x of the sun at sunrise; at sunset it stands at 1 - sun_x."""
    sun_up: float
    """Height of the sun above the shore."""
    haze: float
    """Load of aerosol, about 0.3 (crisp) to 3 (thick)."""
    rose: float
    """Leaning of the light towards rose (1) or gold (0)."""
    mist: float
    """Density of the morning mist in the valleys, 0 to 1."""
    cloud_cover: float
    cloud_scale: float
    cloud_stretch: float
    cloud_billow: float
    veil: float
    """Strength of the high veil of ice cloud, 0 to 1."""
    ridges: tuple[Ridge, ...]
    """From far to near."""
    ground: Ground
    calm: float
    """How smooth the water lies, 0 ruffled to 1 mirror."""
    bend: tuple[float, float, float]
    """Where a stream runs: foot, swing, turns."""
    bank: float
    """Height of the dark bank at the lower edge."""
    props: tuple[Prop, ...]


def generator(seed: int, purpose: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, purpose])))


def _draw_ridges(rng: np.random.Generator) -> tuple[Ridge, ...]:
    count = int(rng.integers(2, 6))
    mountains = rng.random() < 0.55
    height = rng.uniform(0.16, 0.34) if mountains else rng.uniform(0.07, 0.16)
    ridges = []
    for k in range(count):
        share = k / max(count - 1, 1)
        crest = height * (1.0 - 0.78 * share) * rng.uniform(0.75, 1.15)
        sharp = rng.uniform(0.55, 0.95) * (1.0 - 0.75 * share) if mountains else rng.uniform(0.0, 0.25)
        near = share > 0.6
        ridges.append(
            Ridge(
                line=float(rng.uniform(0, 60)),
                crest=float(0.62 * crest),
                relief=float(0.62 * crest),
                frequency=float(rng.uniform(1.3, 2.6) + 0.8 * share),
                sharp=float(sharp),
                distance=float(0.7 * (1.0 - share) ** 1.1 + 0.12),
                forest=float(rng.uniform(0.012, 0.03)) if near and rng.random() < 0.75 else 0.0,
                snow=float(rng.uniform(0.35, 0.65) * height)
                if mountains and share < 0.5 and rng.random() < 0.7
                else 9.0,
            )
        )
    return tuple(ridges)


def _sun_height(seed: int, ridges: tuple[Ridge, ...], sun_x: float, clearance: float) -> float:
    """Height of the sun above the shore: `clearance` above the higher of the two skylines it stands over."""
    table = gradient_table(generator(seed, 1))
    places = np.array([sun_x, 1.0 - sun_x], np.float32)
    crest = max(float(skyline(ridge, places, table).max()) for ridge in ridges)
    return max(crest + clearance, 0.03)


def draw_scene(seed: int) -> Scene:
    """Draw the parameters of a scene; the same seed always gives the same scene."""
    if seed < 0:
        raise UserError(f"scene seed is {seed}: choose 0 or more")
    rng = generator(seed, 0)
    ridges = _draw_ridges(rng)
    sun_x = float(rng.uniform(0.12, 0.4))
    ground: Ground = ("water", "water", "water", "stream", "meadow")[int(rng.integers(5))]
    props: list[Prop] = []
    main = _FOREGROUNDS[int(rng.choice(len(_FOREGROUNDS), p=_FOREGROUND_CHANCES))]
    if main == "reeds" and ground == "meadow":
        main = "grass"
    if main is not None:
        props.append(main)
    if ground == "water" and main in (None, "reeds", "grass", "winter") and rng.random() < 0.6:
        props.append("boat" if rng.random() < 0.6 else "jetty")
    if ground != "water" and rng.random() < 0.45:
        props.append("hut")
    if rng.random() < 0.4:
        props.append("birds")
    return Scene(
        seed=seed,
        shore=float(rng.uniform(0.54, 0.7)),
        sun_x=sun_x,
        sun_up=_sun_height(seed, ridges, sun_x, float(rng.triangular(-0.04, 0.035, 0.13))),
        haze=float(np.exp(rng.uniform(np.log(0.4), np.log(2.8)))),
        rose=float(rng.random()),
        mist=float(rng.beta(1.3, 1.6)),
        cloud_cover=float(0.72 * rng.beta(1.2, 1.9)),
        cloud_scale=float(rng.uniform(0.5, 1.5)),
        cloud_stretch=float(rng.uniform(0.8, 2.6)),
        cloud_billow=float(rng.uniform(0.0, 0.5)),
        veil=float(rng.beta(1.0, 2.2)),
        ridges=ridges,
        ground=ground,
        calm=float(rng.random()),
        bend=(float(rng.uniform(0.35, 0.65)), float(rng.uniform(0.1, 0.3)), float(rng.uniform(1.5, 3.5))),
        bank=float(rng.uniform(0.0, 0.09)),
        props=tuple(props),
    )
