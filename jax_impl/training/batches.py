"""What is random about a training step: pairs, augmentation, timesteps, noise."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_impl.config.tree import Config
from jax_impl.data.augment import augment
from jax_impl.data.crops import random_crops
from jax_impl.diffusion.guidance import hide
from jax_impl.model.codec import codec_of
from jax_impl.shapes import Array, Cond, Features, Float, RandomKey, Timesteps
from jax_impl.training.interfaces import Batch

DROPOUT_STREAM = 1000
"""Folded into a step's key for dropout: far from the keys that `draw_batch` splits off, which are numbered from 0."""


class Drawn(NamedTuple):
    """A batch with all that is random about it; states of the codec, (batch, height, width, channels)."""

    cond: Cond
    """As the network takes it: with coordinates of crops it has two channels more."""
    x0: Features
    t: Timesteps
    """Timesteps, integers (batch,)."""
    eps: Features
    """Standard normal, shaped like x0."""
    source: Features | None = None
    """What the process starts from, where that is another picture than cond; shaped like x0."""


def to_unit(pictures: jax.Array | np.ndarray) -> Float[Array, "*shape"]:
    """uint8 0…255 to [-1, 1], float32, or float64 where jax_enable_x64 is on."""
    return (jnp.asarray(pictures, jnp.result_type(float)) - 127.5) / 127.5


def draw_batch(config: Config, key: RandomKey, pairs: Batch, indices: jax.Array | None) -> Drawn:
    """Everything random about a step, of the pairs at `indices`, or of all, augmented, float32.

    With data.crop_size they are crops of that side, and for a network with coordinates cond then has 5 channels. With
    probability diffusion.cond_dropout a guiding picture is hidden: it becomes middle grey.
    """
    augment_key, t_key, eps_key = jax.random.split(key, 3)
    cond, x0 = (to_unit(side if indices is None else side[indices]) for side in pairs)
    count = cond.shape[:1]
    cond, x0 = augment(augment_key, cond, x0, config.data.augment)
    # Keys of their own for what a run may do without, so that its other draws stay the same.
    if config.data.crop_size > 0:
        cond, x0 = random_crops(jax.random.fold_in(key, 4), cond, x0, config.data.crop_size)
        cond = cond[..., : config.model.cond_channels]
    codec = codec_of(config.codec)
    cond, x0 = codec.encode(cond), codec.encode(x0)
    t = jax.random.randint(t_key, count, 0, config.diffusion.timesteps)
    if (dropout := config.diffusion.cond_dropout) > 0.0:
        hidden = jax.random.bernoulli(jax.random.fold_in(key, 3), dropout, (*count, 1, 1, 1))
        cond = jnp.where(hidden, hide(cond, x0.shape[-1]), cond)
    return Drawn(cond, x0, t, jax.random.normal(eps_key, x0.shape, x0.dtype))
