"""Trained weights as a function from pictures to their translations, in JAX."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from export.edge.detail import to_photo_size
from export.edge.pictures.arrays import check_size, to_float, working
from export.edge.pictures.frames import kept_steps
from export.edge.sampling.noise import start_noise
from jax_impl.config.tree import Config
from jax_impl.diffusion.samplers import Sampled
from jax_impl.diffusion.sampling import AS_RECOMMENDED, SamplingOptions, make_sampler, resolve
from jax_impl.model.codec import codec_of
from jax_impl.model.network import Tree
from jax_impl.training.objective import Problem

BATCH = 8
"""Pictures that are translated together."""


class Made(NamedTuple):
    """What was made of pictures of one working size, floats in [-1, 1]."""

    results: np.ndarray
    """(pictures, height, width, 3)"""
    frames: np.ndarray
    """The states after the saved steps, (steps, pictures, height, width, 3)."""
    start: np.ndarray
    """The start noise as a picture, (height, width, 3)."""


@dataclass(frozen=True)
class Translator:
    """Weights, and how to sample with them."""

    sample: Callable[[jax.Array, jax.Array, jax.Array], Sampled]
    """(cond, noise, keys), float32 (batch, height, width, 3) twice and (batch,), to samples."""
    config: Config
    size: int
    """Side that pictures are brought to, pixels."""
    saved: Mapping[int, int]
    """The steps whose states are saved, and their timesteps; empty for none."""

    def __call__(self, inner: np.ndarray, seed: int) -> Made:
        """Translate pictures of one working size, uint8 (pictures, height, width, 3), all from the noise of `seed`."""
        noise = jnp.asarray(start_noise(seed, self.config.codec.state_shape((1, *inner.shape[1:]))))
        noises = jnp.broadcast_to(noise, (len(inner), *noise.shape[1:]))
        keys = jnp.broadcast_to(jax.random.key(seed), (len(inner),))
        made = self.sample(jnp.asarray(to_float(inner)), noises, keys)
        start = np.asarray(codec_of(self.config.codec).decode(noise))[0]
        return Made(np.asarray(made.x0), np.asarray(made.frames), start)

    def inner(self, picture: np.ndarray) -> np.ndarray:
        """A picture of any size at its working size, both uint8 (height, width, 3)."""
        return working(picture, self.size, self.config.data.fit, self.config.size_multiple)

    def outer(self, picture: np.ndarray, inner: np.ndarray, result: np.ndarray) -> np.ndarray:
        """A result of working size, floats in [-1, 1], as a picture of the size of `picture`, uint8."""
        return to_photo_size(picture, inner, result, self.config.data.fit)


def make_translator(
    problem: Problem,
    params: Tree,
    stats: Tree,
    options: SamplingOptions = AS_RECOMMENDED,
    *,
    size: int | None = None,
    keep: bool = False,
) -> Translator:
    """The translator of these weights.

    `size`: the side that pictures are brought to, by default data.size of training; `keep`: whether states along the
    way are kept. Raises UserError for options and sizes that cannot be met.
    """
    config = resolve(problem, options)
    kept = kept_steps(len(config.plan)) if keep else ()
    side = problem.config.data.size if size is None else check_size(size, problem.config.size_multiple)
    sample = partial(make_sampler(problem, config, kept), params, stats)
    return Translator(sample, problem.config, side, {i: int(config.plan.t[i]) for i in kept})


def translate_all(translator: Translator, pictures: Sequence[np.ndarray], seed: int) -> list[np.ndarray]:
    """Pictures of any sizes, uint8 (height, width, 3), to translations of the same sizes."""
    results: list[np.ndarray] = [np.empty(0)] * len(pictures)
    inners = [translator.inner(picture) for picture in pictures]
    for shape in dict.fromkeys(inner.shape for inner in inners):
        places = [i for i, inner in enumerate(inners) if inner.shape == shape]
        for start in range(0, len(places), BATCH):
            some = places[start : start + BATCH]
            made = translator(np.stack([inners[i] for i in some]), seed)
            for i, result in zip(some, made.results, strict=True):
                results[i] = translator.outer(pictures[i], inners[i], result)
    return results
