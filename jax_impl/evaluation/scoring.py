"""Score a method: every figure of every picture, of the set, and of its resamples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from tqdm import tqdm

from export.edge.errors import UserError
from export.edge.metrics import (
    color_drift,
    delta_e,
    psnr,
    sharpness_ratio,
    ssim,
)  # fmt: skip
from jax_impl.evaluation.frechet import Features, frechet_distance, kernel_distance
from jax_impl.evaluation.held_out import HeldOut
from jax_impl.evaluation.memory import Nearness, nearness
from jax_impl.evaluation.methods import Method
from jax_impl.evaluation.sets import SetMetric, set_metrics
from jax_impl.evaluation.statistics import Estimate, by_scene, centred, resampling

BEST_PSNR = 100.0
"""What an exact match counts, dB: its PSNR is infinite, which neither a mean nor JSON can hold."""
_THREADS = 2


@dataclass(frozen=True)
class Metric:
    """A figure for a drawn picture and its truth, both uint8 (height, width, 3)."""

    title: str
    digits: int
    measure: Callable[[np.ndarray, np.ndarray], float]
    badness: Callable[[np.ndarray], np.ndarray]
    """Turns values into what is smaller for better ones."""


def _log_distance(ratio: np.ndarray) -> np.ndarray:
    return np.abs(np.log(ratio))


METRICS: dict[str, Metric] = {
    "psnr": Metric("PSNR, dB", 2, lambda a, b: min(psnr(a, b), BEST_PSNR), np.negative),
    "ssim": Metric("SSIM", 3, ssim, np.negative),
    "delta_e": Metric("ΔE2000", 2, delta_e, np.positive),
    "sharpness": Metric("sharpness ratio", 2, sharpness_ratio, _log_distance),
    "drift": Metric("colour drift", 2, lambda a, b: float(np.mean(np.abs(color_drift(a, b)))), np.positive),
}
"""The paired figures that need no weights. Sharpness is best at 1, the others at an end."""


@dataclass(frozen=True)
class Judge:
    """What every method is scored with: the same pairs, metrics and resamples."""

    held_out: HeldOut
    metrics: dict[str, Metric]
    sets: dict[str, SetMetric]
    resamples: np.ndarray
    """float64 (resamples, pictures)"""
    scenes: np.ndarray
    """float64 (scenes, pictures)"""
    features: Features | None
    """For FID, where weights for it are given."""
    truth_features: np.ndarray | None
    """`features` of the targets."""


@dataclass(frozen=True)
class Scores:
    """All that is known of a method."""

    method: Method
    drawn: np.ndarray
    """uint8 (draws, pictures, height, width, 3)"""
    values: dict[str, np.ndarray]
    """The paired metrics, float64 (draws, pictures)."""
    signed_drift: np.ndarray
    """Mean over pictures and draws of each channel's drift, levels of 255: (3,)."""
    estimates: dict[str, Estimate]
    """Every metric, and those of sets, over the pictures: paired ones as the mean over draws."""
    best: dict[str, Estimate]
    """The paired metrics of each picture's best draw, chosen for each metric by itself."""
    parts: dict[str, dict[str, Estimate]]
    """What each metric of sets is made of, by its key and the part's name."""
    in_scenes: dict[str, np.ndarray]
    """Badness of every metric, and of those of sets, in each scene: (scenes,)."""
    diversity: np.ndarray | None
    """Mean RMSE between two draws for the same input, levels of 255, (pictures,); None for a single draw."""
    memory: Nearness | None
    fid: float | None
    kid: float | None
    """Both between all drawn pictures and the targets."""


def make_judge(held_out: HeldOut, metrics: dict[str, Metric], features: Features | None = None) -> Judge:
    """The judge for these pairs. Raises UserError for FID of a single pair."""
    if features is not None and len(held_out.pairs.names) < 2:
        raise UserError("--fid compares the spread of two sets and there is one pair only; leave --fid out")
    return Judge(
        held_out=held_out,
        metrics=metrics,
        sets=set_metrics(held_out),
        resamples=resampling(held_out.scenes),
        scenes=by_scene(held_out.scenes),
        features=features,
        truth_features=None if features is None else features(held_out.pairs.x0),
    )


def score(judge: Judge, method: Method, seed: int = 0, draws: int = 1) -> Scores:
    """Draw and score. Draw d of picture i has the seed `seed + i + d · pictures`; without chance there is one draw."""
    pairs = judge.held_out.pairs
    count = len(pairs.names)
    draws = draws if method.chance else 1
    seeds = seed + np.arange(draws * count).reshape(draws, count)
    drawn = np.stack([method.draw(pairs.cond, row.tolist()) for row in seeds])
    values = _measure(judge.metrics, drawn, pairs.x0)
    means = {name: of_draws.mean(axis=0) for name, of_draws in values.items()}
    best = {name: _best(judge.metrics[name], of_draws) for name, of_draws in values.items()}
    in_scenes = {name: judge.metrics[name].badness(judge.scenes @ mean) for name, mean in means.items()}
    estimates = {name: _estimate(mean, judge.resamples) for name, mean in means.items()}
    parts: dict[str, dict[str, Estimate]] = {}
    for name, metric in judge.sets.items():
        compared = metric.compare(drawn)
        whole, resampled = compared(np.full((1, count), 1.0 / count)), compared(judge.resamples)
        estimates[name] = centred(float(metric.total(whole)[0]), metric.total(resampled))
        parts[name] = {part: centred(float(whole[0, i]), resampled[:, i]) for i, part in enumerate(metric.parts)}
        in_scenes[name] = metric.total(compared(judge.scenes))
    seen = None if judge.features is None else judge.features(drawn.reshape(-1, *drawn.shape[2:]))
    true = judge.truth_features
    return Scores(
        method=method,
        drawn=drawn,
        values=values,
        signed_drift=(drawn.mean(axis=(2, 3)) - pairs.x0.mean(axis=(1, 2))).mean(axis=(0, 1)),
        estimates=estimates,
        best={name: _estimate(chosen, judge.resamples) for name, chosen in best.items()},
        parts=parts,
        in_scenes=in_scenes,
        diversity=_diversity(drawn) if draws > 1 else None,
        memory=None if judge.held_out.train is None else nearness(drawn, pairs.x0, judge.held_out.train.x0),
        fid=None if seen is None or true is None else frechet_distance(seen, true),
        kid=None if seen is None or true is None else kernel_distance(seen, true),
    )


def wins(scores: Scores, other: Scores) -> dict[str, int]:
    """In how many scenes one method is better than another, by metric; equals do not count."""
    return {name: int((bad < other.in_scenes[name]).sum()) for name, bad in scores.in_scenes.items()}


def _measure(metrics: dict[str, Metric], drawn: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    draws, count = drawn.shape[:2]
    jobs = [(d, i) for d in range(draws) for i in range(count)]

    def measure(job: tuple[int, int]) -> list[float]:
        return [metric.measure(drawn[job], truth[job[1]]) for metric in metrics.values()]

    # On threads: numpy lets go of the interpreter in its loops.
    with ThreadPoolExecutor(_THREADS) as pool:
        bar = tqdm(pool.map(measure, jobs), "scoring", len(jobs), unit="picture", leave=False, disable=None)
        table = np.array(list(bar), np.float64).reshape(draws, count, len(metrics))
    return {name: table[..., m] for m, name in enumerate(metrics)}


def _best(metric: Metric, values: np.ndarray) -> np.ndarray:
    """Of (draws, pictures) each picture's best value."""
    return np.take_along_axis(values, metric.badness(values).argmin(axis=0)[None], axis=0)[0]


def _estimate(values: np.ndarray, resamples: np.ndarray) -> Estimate:
    return Estimate(float(values.mean()), resamples @ values)


def _diversity(drawn: np.ndarray) -> np.ndarray:
    rmse: Sequence[np.ndarray] = [
        np.sqrt(np.mean((a.astype(np.float32) - b.astype(np.float32)) ** 2, axis=(1, 2, 3), dtype=np.float64))
        for a, b in combinations(drawn, 2)
    ]
    return np.mean(rmse, axis=0)
