"""The jitted function that samples pictures with a network's weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from export.edge.model.layout import DENOISER
from export.edge.sampling.guidance import check_guidance
from export.edge.sampling.table import Plan
from jax_impl.diffusion.guidance import guided
from jax_impl.diffusion.process import Bound
from jax_impl.diffusion.samplers import Denoise, Sampled, beginning_with, noise_of, sample, start_state
from jax_impl.model.network import Tree
from jax_impl.training.interfaces import NamedNetworks
from jax_impl.training.objective import Problem

SampleFunction = Callable[..., Sampled]
"""(params, stats, cond, noise, keys, others=None) to Sampled; noise, standard normal, and pictures (batch, height,
width, 3), cond with more channels where the network takes them; keys (batch,); others: networks that the sampler may
start from, by name, those of the problem if None."""


@dataclass(frozen=True)
class SamplingOptions:
    """How to sample; None is as the weights recommend."""

    sampler: str | None = None
    """A sampler of the process."""
    steps: int | None = None
    """Each is one call of the network; `heun` takes two in every step but the first and the last."""
    spacing: str | None = None
    """Which timesteps are visited, see `export.edge.sampling.spacing.timesteps`."""
    guidance: float | None = None
    """Scale of classifier-free guidance, see `jax_impl.diffusion.guidance`; 1 is none."""
    eta: float = 0.0
    """Share of the ancestral noise that DDIM puts back, 0 to 1."""
    realism: float | None = None
    """From 0, the mean picture, to 1, the sharpest, for weights trained with diffusion.slider; None is 1."""


@dataclass(frozen=True)
class SamplerConfig:
    """How to sample, with nothing left open."""

    sampler: str
    steps: int
    plan: Plan
    bound: Bound
    guidance: float


AS_RECOMMENDED = SamplingOptions()


def resolve(problem: Problem, options: SamplingOptions = AS_RECOMMENDED) -> SamplerConfig:
    """What the weights recommend, with the options in its place.

    Raises UserError for options that the process cannot meet, and for guidance of weights that were trained without
    hidden guiding pictures.
    """
    config = problem.config.diffusion
    guidance = config.guidance if options.guidance is None else options.guidance
    check_guidance(guidance, config.cond_dropout)
    sampler = config.sampler if options.sampler is None else options.sampler
    steps = config.sample_steps if options.steps is None else options.steps
    spacing = config.spacing if options.spacing is None else options.spacing
    plan = problem.process.table(steps, sampler, options.eta, spacing=spacing).at(options.realism)
    return SamplerConfig(sampler, steps, plan, problem.process.bound(sampler), guidance)


def make_sampler(problem: Problem, config: SamplerConfig, kept: Sequence[int] = ()) -> SampleFunction:
    """A jitted sampler of the problem's network, which also returns the states after the `kept` calls.

    It takes and returns pictures; `noise` has the shape of a state of the codec, `state_shape`.
    """
    codec = problem.codec

    @jax.jit
    def sampler(
        params: Tree,
        stats: Tree,
        cond: jax.Array,
        noise: jax.Array,
        keys: jax.Array,
        others: NamedNetworks | None = None,
    ) -> Sampled:
        def by(weights: tuple[Tree, Tree]) -> Denoise:
            return lambda x_t, cond, t: problem.network.apply(*weights, x_t, cond, t)[0]

        denoise, others = by((params, stats)), problem.others if others is None else others
        cond = codec.encode(cond)
        networks = {DENOISER: denoise, **{name: by(weights) for name, weights in others.items()}}
        start = start_state(config.plan, networks, cond, noise)
        step_noise = noise_of(keys, start.shape[1:], jnp.dtype(start.dtype))
        if config.plan.start_from_noise == 0.0:
            step_noise = beginning_with(noise, step_noise)
        sampled = sample(guided(denoise, config.guidance), cond, start, config.plan, step_noise, config.bound, kept)
        frames = jax.vmap(codec.decode)(sampled.frames) if kept else sampled.frames
        return sampled._replace(x0=codec.decode(sampled.x0), frames=frames)

    return sampler
