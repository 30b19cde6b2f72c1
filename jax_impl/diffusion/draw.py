"""The jitted function that draws pictures with a network's weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import numpy as np

from export.edge.sampling.guidance import check_guidance
from export.edge.sampling.spacing import Spacing
from export.edge.sampling.table import AnySampler
from jax_impl.config.tree import DiffusionConfig
from jax_impl.diffusion.guidance import guided
from jax_impl.diffusion.samplers import Draw, SamplerConfig, sample
from jax_impl.model.network import Tree
from jax_impl.training.step import Problem

DrawFunction = Callable[[Tree, Tree, jax.Array, jax.Array, jax.Array], Draw]
"""(params, stats, cond, x_start, keys) to a Draw; pictures (batch, height, width, 3), keys (batch,)."""


@dataclass(frozen=True)
class Wishes:
    """How to draw where it is not as the weights recommend; None is as they do."""

    sampler: AnySampler | None = None
    steps: int | None = None
    spacing: Spacing | None = None
    guidance: float | None = None
    eta: float = 0.0


def resolve(diffusion: DiffusionConfig, wishes: Wishes) -> SamplerConfig:
    """What the weights recommend, with the wishes in its place.

    Raises UserError for guidance of weights that never met a hidden guiding picture, or by no scale.
    """
    guidance = diffusion.guidance if wishes.guidance is None else wishes.guidance
    check_guidance(guidance, diffusion.cond_dropout)
    return SamplerConfig(
        wishes.sampler or diffusion.sampler,
        diffusion.sample_steps if wishes.steps is None else wishes.steps,
        wishes.eta,
        wishes.spacing or diffusion.spacing,
        guidance,
    )


def make_draw(
    problem: Problem, alphas_cumprod: np.ndarray, config: SamplerConfig, kept: Sequence[int] = ()
) -> DrawFunction:
    """A jitted sampler of the problem's network, which also returns the states after the `kept` calls."""
    diffusion = problem.config.diffusion

    @jax.jit
    def draw(params: Tree, stats: Tree, cond: jax.Array, x_start: jax.Array, keys: jax.Array) -> Draw:
        def denoise(x_t: jax.Array, cond: jax.Array, t: jax.Array) -> jax.Array:
            return problem.network.apply(params, stats, x_t, cond, t)[0]

        return sample(
            guided(denoise, config.guidance),
            cond,
            x_start,
            keys,
            alphas_cumprod,
            config,
            prediction=diffusion.prediction,
            clamp=diffusion.clamp,
            threshold=diffusion.threshold,
            kept=kept,
        )

    return draw
