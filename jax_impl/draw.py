"""The jitted function that draws pictures with a network's weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import numpy as np

from jax_impl.diffusion.samplers import Draw, SamplerConfig, sample
from jax_impl.model.network import Tree
from jax_impl.training.step import Problem

DrawFunction = Callable[[Tree, Tree, jax.Array, jax.Array, jax.Array], Draw]
"""(params, stats, cond, x_start, keys) to a Draw; pictures (batch, height, width, 3), keys (batch,)."""


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
            denoise,
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
