"""How good a file is: its final pictures compared with those of float32, and what they cost."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from export.edge.metrics import (
    Yardstick,
    cumulative,
    delta_e,
    distances,
    make_yardstick,
    psnr,
    sharpness_ratio,
    ssim,
)  # fmt: skip
from export.edge.model.artifact import Artifact
from export.edge.pictures.arrays import to_float, to_uint8
from export.edge.sampling.coordinates import with_coordinates
from export.edge.sampling.guidance import guided, hide
from export.edge.sampling.loop import generate
from export.edge.timing import Counted
from export.precision import Feeds

STEPS = 20
"""Sampler steps of a scored picture, or T where that is less: enough for errors to add up."""
CALIBRATION_STEPS = 10
"""Steps, from T-1 to 0 in even strides, of the trajectories that show an 8-bit network its values."""
LARGEST_SIDE = 256
"""Pixels; larger training sizes are tried at this side, for the sake of time and memory."""


@dataclass(frozen=True)
class Drawing:
    """A picture drawn from noise."""

    picture: np.ndarray
    """uint8 (height, width, 3)."""
    finite: bool
    calls: int
    """Of the network as the sampler counts them: with guidance each is two runs."""
    network_seconds: float
    seconds: float


@dataclass(frozen=True)
class Score:
    """One file over all pictures; times are medians over them."""

    name: str
    megabytes: float
    step_ms: float
    """Milliseconds of one call of the network."""
    picture_ms: float
    """Milliseconds from noise to a picture."""
    worst_psnr: float
    """dB against the pictures of the first file; infinite where they are the same, minus infinity where not finite."""
    mean_psnr: float
    delta_e: float
    """Mean CIEDE2000 against the same."""
    to_target: TargetScore | None
    """Where the true pictures are known."""


@dataclass(frozen=True)
class TargetScore:
    """How near drawn pictures are to the true ones; means over the pictures, except `swd`."""

    psnr: float
    """dB; infinite where a picture is the true one."""
    ssim: float
    delta_e: float
    """CIEDE2000."""
    sharpness: float
    """Of the true pictures' sharpness, this share."""
    swd: float
    """Sliced Wasserstein distance of the whole sets times 1000, mean over the pyramid's levels."""


def working_side(model: Artifact) -> int:
    """The side of the squares on which a model is tried."""
    multiple = model.size_multiple
    return max(multiple, min(model.size, LARGEST_SIDE) // multiple * multiple)


def draw(model: Artifact, picture: np.ndarray, seed: int, steps: int | None = None) -> Drawing:
    """Draw from a guiding picture, uint8 (height, width, 3) with sides in multiples of size_multiple.

    As the model recommends, except the number of `steps` where it is given; the noise is that of `seed`.
    """
    started = time.perf_counter()
    cond = to_float(picture)[None]
    plan = model.plan(steps)
    timed = Counted(guided(model.denoise, model.guidance))
    x = np.empty(0)
    for call in generate(model, cond, plan, seed, timed):
        x = call.x
    finite = bool(np.isfinite(x).all())
    drawn = to_uint8(np.nan_to_num(model.codec.decode(x)[0]))
    return Drawing(drawn, finite, timed.calls, timed.seconds, time.perf_counter() - started)


def score_files(
    models: Mapping[str, tuple[Artifact, int]],
    pictures: Sequence[np.ndarray],
    targets: Sequence[np.ndarray] | None = None,
    steps: int | None = None,
) -> list[Score]:
    """Score files, by name with their size in bytes, on guiding pictures; all are compared with the first file's.

    `targets`: the true pictures, if they are known. `steps`: None for STEPS. Every picture
    is drawn by one file after the other, so that a busy moment of the machine hits all alike.
    """
    judged = None if targets is None else Truth.of(targets)
    drawn: dict[str, list[Drawing]] = {name: [] for name in models}
    for seed, picture in enumerate(pictures):
        for name, (model, _) in models.items():
            count = steps_of(model, STEPS) if steps is None else steps
            if seed == 0:
                draw(model, picture, seed, steps_of(model, 1))  # The first run of a session sets up its memory.
            drawn[name].append(draw(model, picture, seed, count))
    first = next(iter(drawn.values()))
    return [_score(name, models[name][1], drawings, first, judged) for name, drawings in drawn.items()]


@dataclass(frozen=True)
class Truth:
    """True pictures, and what the sets drawn for them are measured with."""

    pictures: np.ndarray
    """uint8 (pictures, height, width, 3)"""
    yardstick: Yardstick
    distribution: list[np.ndarray]
    """`cumulative` of the true pictures."""

    @classmethod
    def of(cls, targets: Sequence[np.ndarray]) -> Truth:
        """uint8 (height, width, 3) each, all of one size. Raises UserError for sides under 7 pixels."""
        pictures = np.stack(targets)
        yardstick = make_yardstick(pictures)
        return cls(pictures, yardstick, cumulative(yardstick, pictures))

    def nearness(self, drawn: np.ndarray) -> TargetScore:
        """Of pictures drawn for these, in the same order and of the same shape."""
        pairs = list(zip(drawn, self.pictures, strict=True))
        gaps = [a - b for a, b in zip(cumulative(self.yardstick, drawn), self.distribution, strict=True)]
        alike = np.full((1, len(drawn)), 1.0 / len(drawn))
        return TargetScore(
            psnr=float(np.mean([psnr(*pair) for pair in pairs])),
            ssim=float(np.mean([ssim(*pair) for pair in pairs])),
            delta_e=float(np.mean([delta_e(*pair) for pair in pairs])),
            sharpness=float(np.mean([sharpness_ratio(*pair) for pair in pairs])),
            swd=float(distances(self.yardstick, gaps, alike).mean()),
        )


def _score(name: str, size: int, drawings: list[Drawing], first: list[Drawing], truth: Truth | None) -> Score:
    pairs = [(ours.picture, theirs.picture) for ours, theirs in zip(drawings, first, strict=True)]
    psnrs = [psnr(*pair) if ours.finite else -math.inf for pair, ours in zip(pairs, drawings, strict=True)]
    return Score(
        name=name,
        megabytes=size / 1e6,
        step_ms=1e3 * float(np.median([d.network_seconds / d.calls for d in drawings])),
        picture_ms=1e3 * float(np.median([d.seconds for d in drawings])),
        worst_psnr=min(psnrs),
        mean_psnr=float(np.mean(psnrs)),
        delta_e=float(np.mean([delta_e(*pair) for pair in pairs])),
        to_target=None if truth is None else truth.nearness(np.stack([d.picture for d in drawings])),
    )


def visited(model: Artifact, pictures: Sequence[np.ndarray]) -> Iterator[Feeds]:
    """What the network is given on the way from noise to a picture, for each of the guiding pictures, batch 1, NCHW."""
    spacing = "linspace" if model.tables is None else None
    steps, sampler = steps_of(model, CALIBRATION_STEPS), "ddim" if model.tables is None else None
    for number, picture in enumerate(pictures):
        # Both ends of a slider in turn.
        plan = model.plan(steps, sampler, spacing=spacing, realism=float(number % 2) if model.slider else None)
        cond = to_float(picture)[None]
        if model.coordinates:
            cond = with_coordinates(cond)
        encoded = model.codec.encode(cond)
        for call in generate(model, cond, plan, number):
            shown = [encoded] if model.guidance == 1.0 else [encoded, hide(encoded, model.codec.channels)]
            for given in shown:
                yield {"x_t": nchw(call.x_t), "cond": nchw(given), "t": np.array([call.t], np.int64)}


def steps_of(model: Artifact, most: int) -> int:
    """Up to so many steps: with tables, the recommended number, as other numbers may not be there."""
    return min(most, model.timesteps) if model.tables is None else model.steps


def nchw(pictures: np.ndarray) -> np.ndarray:
    """(batch, height, width, channels) as the graphs take it, (batch, channels, height, width)."""
    return np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))
