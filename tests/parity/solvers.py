"""Whole walks of the samplers of second order, by each implementation, driven by outputs that are given.

Their steps are not each for itself: an estimate of the clean picture counts in the next
call too, so they are compared walk by walk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_heun_discrete import HeunDiscreteScheduler

from export.edge.choices import Prediction, Sampler, Spacing
from export.edge.sampling import loop, table
from export.edge.sampling.spacing import timesteps
from jax_impl.diffusion import samplers
from jax_impl.diffusion.process import Bound
from tests.parity.sides import CLAMP, NAMES_IN_DIFFUSERS, jax_process
from torch_ref import diffusion


@dataclass(frozen=True)
class Walk:
    """A walk from `start` (batch, height, width, channels) in which call i of the network says outputs[i]."""

    sampler: Sampler
    spacing: Spacing
    threshold: float
    prediction: Prediction
    steps: int
    start: np.ndarray
    outputs: np.ndarray
    """(calls, batch, height, width, channels), as `start` in float32 or float64."""


def _jax(alphas_cumprod: np.ndarray, walk: Walk) -> np.ndarray:
    plan = jax_process(alphas_cumprod, walk.prediction).plan(walk.steps, walk.sampler, spacing=walk.spacing)
    calls = len(walk.outputs)
    # Without jit, as single steps are: the scan is then a loop, which asks for one output after the other.
    with jax.enable_x64(walk.start.dtype == np.float64), jax.disable_jit():
        start, said = jnp.asarray(walk.start), iter(jnp.asarray(walk.outputs))
        bound = Bound(CLAMP, walk.threshold)
        drawn = samplers.sample(
            lambda x, cond, t: next(said), start, start, plan, lambda call: start, bound, range(calls)
        )
        return np.asarray(drawn.frames)


def _torch(alphas_cumprod: np.ndarray, walk: Walk) -> np.ndarray:
    start, said = torch.from_numpy(walk.start), iter(torch.from_numpy(walk.outputs))
    how = diffusion.SamplerSettings(
        walk.steps, walk.prediction, walk.sampler, clamp=CLAMP, threshold=walk.threshold, spacing=walk.spacing
    )
    steps = diffusion.sample(lambda x, cond, t: next(said), start, start, alphas_cumprod, lambda index: start, how)
    return np.stack([step.x.numpy() for step in steps])


def _edge(alphas_cumprod: np.ndarray, walk: Walk) -> np.ndarray:
    said = iter(walk.outputs)
    plan = table.coefficients(
        alphas_cumprod, walk.steps, walk.sampler, prediction=walk.prediction, spacing=walk.spacing
    )
    states = loop.iterate(
        lambda x, cond, t: next(said), walk.start, walk.start, plan, CLAMP, lambda index: walk.start, walk.threshold
    )
    return np.stack([step.x for step in states])


def _diffusers(alphas_cumprod: np.ndarray, walk: Walk) -> np.ndarray:
    said = iter(torch.from_numpy(walk.outputs))
    grid = timesteps(alphas_cumprod, walk.steps, walk.spacing)
    drive = {"dpmpp": diffusers_dpmpp, "heun": diffusers_heun}[walk.sampler]
    states = drive(
        lambda x, t: next(said), torch.from_numpy(walk.start), alphas_cumprod, grid,
        prediction=walk.prediction, clamp=CLAMP, threshold=walk.threshold,
    )  # fmt: skip
    return np.stack([x.numpy() for x in states])


WALK: dict[str, Callable[[np.ndarray, Walk], np.ndarray]] = {
    "JAX": _jax,
    "torch": _torch,
    "edge": _edge,
    "diffusers": _diffusers,
}

Network = Callable[[torch.Tensor, int], torch.Tensor]
"""(x_t, t) to the network's output."""


def diffusers_dpmpp(
    network: Network,
    x: torch.Tensor,
    alphas_cumprod: np.ndarray,
    grid: np.ndarray,
    *,
    prediction: str,
    clamp: float,
    threshold: float,
) -> Iterator[torch.Tensor]:
    """The state after each step of diffusers' DPM-Solver++(2M), thresholded or, for 0, clamped to ±1."""
    if clamp != 1.0:
        raise ValueError(f"clamp {clamp}: diffusers thresholds to 1 only")
    made = DPMSolverMultistepScheduler(
        algorithm_type="dpmsolver++",
        solver_order=2,
        solver_type="midpoint",
        lower_order_final=True,
        final_sigmas_type="zero",
        thresholding=True,
        dynamic_thresholding_ratio=threshold,
        sample_max_value=1e9 if threshold else 1.0,  # with a largest s of 1 thresholding is clamping
        **_settings(alphas_cumprod, prediction),
    )
    made.set_timesteps(timesteps=grid.tolist())
    made.sigmas = _sigmas(alphas_cumprod, grid)
    for t in grid.tolist():
        x = made.step(network(x, t), t, x).prev_sample
        yield x


def diffusers_heun(
    network: Network,
    x: torch.Tensor,
    alphas_cumprod: np.ndarray,
    grid: np.ndarray,
    *,
    prediction: str,
    clamp: float,
    threshold: float,
) -> Iterator[torch.Tensor]:
    """The state after each call of diffusers' Heun, clamped.

    Its state is x / √ᾱ, and its first step is a Heun step, which multiplies what two
    estimates differ by with half the fall of σ, from 64,000 on. Ours is an Euler step, as
    the last one is for both: a walk of one timestep, before the walk over the others.
    """
    if threshold:
        raise ValueError(f"threshold {threshold}: diffusers' Heun has none")
    sigmas = _sigmas(alphas_cumprod, grid)
    scale = torch.sqrt(1.0 + sigmas**2)
    for part, levels, sizes in ((grid[:1], sigmas[:2], scale[:2]), (grid[1:], sigmas[1:], scale[1:])):
        made = HeunDiscreteScheduler(clip_sample=True, clip_sample_range=clamp, **_settings(alphas_cumprod, prediction))
        made.set_timesteps(timesteps=part.tolist())
        twice = np.array([0] + [i for i in range(1, len(part)) for _ in range(2)] + [len(part)])
        made.sigmas, sizes = levels[twice], sizes[twice]
        y = x.double() * sizes[0]  # in float64: from 64,000 down, float32 would lose what is left in the end
        for call, t in enumerate(made.timesteps.tolist()):
            y = made.step(network(x, int(t)), t, y).prev_sample
            x = (y / sizes[call + 1]).to(x.dtype)
            yield x


def _settings(alphas_cumprod: np.ndarray, prediction: str) -> dict[str, Any]:
    return {
        "num_train_timesteps": len(alphas_cumprod),
        "trained_betas": (1.0 - alphas_cumprod / np.append(1.0, alphas_cumprod[:-1])).tolist(),
        "prediction_type": NAMES_IN_DIFFUSERS[prediction],
    }


def _sigmas(alphas_cumprod: np.ndarray, grid: np.ndarray) -> torch.Tensor:
    """√((1-ᾱ)/ᾱ) of the grid, then 0, in float64: diffusers' own come from float32 betas."""
    kept = alphas_cumprod[grid]
    return torch.from_numpy(np.append(np.sqrt((1.0 - kept) / kept), 0.0))
