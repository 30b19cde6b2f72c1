"""Adversarial loss: a discriminator compares generated pictures with real ones of the same input.

Relativistic pairing loss with zero-centred gradient penalties on real and generated pictures (Huang et al. 2024,
"R3GAN", equation 2 and section 3), behind differentiable augmentation (Zhao et al. 2020). The stage of training keeps
the discriminator; here is what both networks minimise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jax_impl.config.checks import require
from jax_impl.diffusion.losses.registry import LOSSES, LossConfig, LossSample, Parts, Term
from jax_impl.shapes import Array, Features, Float, RandomKey

DISCRIMINATOR = "discriminator"
"""Of `aux`: a function (pictures, cond) to scores (batch, places), higher for what looks real."""
Scores = Callable[[jax.Array, jax.Array], jax.Array]


@dataclass(frozen=True)
class AdversarialConfig(LossConfig):
    """Relativistic adversarial loss of a conditional patch discriminator; needs a stage that trains one."""

    term: Literal["adversarial"] = "adversarial"
    width: int = 32
    """Channels of the discriminator's first layer, 1 to 1024; the last ones have four times as many."""
    gamma: float = 0.3
    """Weight of the gradient penalties, 0 or more: about 0.3 at 64 × 64 pixels, more for larger pictures. Too small a
    value lets the discriminator's loss explode."""
    penalty_every: int = 4
    """The penalties are computed on every so-manieth picture of a batch, 1 to 1024; 1 for all, which is slower."""
    learning_rate: float = 3e-4
    """Learning rate of the discriminator's Adam, above 0."""
    augment: bool = True
    """Shift, cut and recolour pictures before the discriminator, so that it cannot learn a small training set by
    heart."""

    needs: ClassVar[tuple[str, ...]] = (DISCRIMINATOR,)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(1 <= self.width <= 1024, "losses.adversarial.width", self.width, "choose 1 to 1024")
        require(self.gamma >= 0.0, "losses.adversarial.gamma", self.gamma, "choose 0 or more")
        every = self.penalty_every
        require(1 <= every <= 1024, "losses.adversarial.penalty_every", every, "choose 1 to 1024")
        rate = self.learning_rate
        require(rate > 0.0, "losses.adversarial.learning_rate", rate, "choose a value above 0")

    def create(self) -> Term:
        """A term with a value for each picture; the discriminator sees the output as it is, not clamped."""

        def adversarial(sample: LossSample, key: RandomKey, aux: Mapping[str, Any]) -> tuple[jax.Array, Parts]:
            shown = Shown(sample.cond[..., : sample.x0.shape[-1]], sample.x0_hat, sample.x0)
            if self.augment:
                shown = changed(shown, draw_changes(key, shown.real.shape, shown.real.dtype))
            return generator_loss(aux[DISCRIMINATOR], shown), {}

        return adversarial


class Shown(NamedTuple):
    """What a discriminator sees of a batch, pictures (batch, height, width, channels)."""

    cond: Features
    generated: Features
    real: Features


class Changes(NamedTuple):
    """One draw of the differentiable augmentation for a batch."""

    shift: Array
    """int32 (2,), pixels in height and width, from 0 to twice an eighth of the side; the middle moves nothing."""
    hole: Array
    """int32 (2,), upper left corner of the square that is cut out, a third of the side long."""
    contrast: Float[Array, "batch 1 1 1"]
    """0.75 to 1.25, about each picture's mean."""
    brightness: Float[Array, "batch 1 1 1"]
    """-0.2 to 0.2."""


def draw_changes(key: RandomKey, shape: tuple[int, ...], dtype: jax.typing.DTypeLike) -> Changes:
    """A draw for pictures of `shape`; shift and hole are the same for the whole batch, colours differ."""
    keys = jax.random.split(key, 4)
    sides = jnp.asarray(shape[1:3], jnp.int32)
    colours = (shape[0], 1, 1, 1)
    return Changes(
        jax.random.randint(keys[0], (2,), 0, 2 * (sides // 8) + 1, jnp.int32),
        jax.random.randint(keys[1], (2,), 0, sides - sides // 3 + 1, jnp.int32),
        jax.random.uniform(keys[2], colours, dtype, 0.75, 1.25),
        jax.random.uniform(keys[3], colours, dtype, -0.2, 0.2),
    )


def changed(shown: Shown, changes: Changes) -> Shown:
    """All three pictures with the same changes: colour, then shift (borders reflected), then a square set to 0."""
    _, height, width, _ = shown.real.shape
    rows, columns = (
        (jnp.arange(side, dtype=corner.dtype) >= corner) & (jnp.arange(side, dtype=corner.dtype) < corner + side // 3)
        for side, corner in zip((height, width), changes.hole, strict=True)
    )
    zero = jnp.zeros((), changes.shift.dtype)
    kept = ~(rows[:, None] & columns[None, :])[None, :, :, None]

    def change(pictures: jax.Array) -> jax.Array:
        mean = jnp.mean(pictures, axis=(1, 2, 3), keepdims=True)
        pictures = (pictures - mean) * changes.contrast + mean + changes.brightness
        margins = ((0, 0), (height // 8, height // 8), (width // 8, width // 8), (0, 0))
        padded = jnp.pad(pictures, margins, mode="reflect")
        shifted = jax.lax.dynamic_slice(padded, (zero, *changes.shift, zero), pictures.shape)
        return jnp.where(kept, shifted, 0.0)

    return Shown(*map(change, shown))


def generator_loss(scores: Scores, shown: Shown) -> Float[Array, " batch"]:
    """softplus(D(real) - D(generated)) of each picture, the mean over places."""
    real = jax.lax.stop_gradient(scores(shown.real, shown.cond))
    return jnp.mean(jax.nn.softplus(real - scores(shown.generated, shown.cond)), axis=1)


def discriminator_loss(scores: Scores, shown: Shown, gamma: float, penalty_every: int) -> tuple[jax.Array, Parts]:
    """softplus(D(generated) - D(real)) plus gamma / 2 times both gradient penalties, a scalar; and parts to log.

    The pictures are constants. A penalty is the squared norm of the gradient of a picture's mean score with respect to
    its pixels, its mean over every `penalty_every`-th picture (Roth et al. 2017; Mescheder et al. 2018, R1 and R2). The
    parts: the loss without penalties, the mean lead of real over generated scores, and the sum of the penalties.
    """
    shown = Shown(*map(jax.lax.stop_gradient, shown))
    both = jnp.concatenate([shown.real, shown.generated])
    real, generated = jnp.split(scores(both, jnp.concatenate([shown.cond, shown.cond])), 2)
    loss = jnp.mean(jax.nn.softplus(generated - real))
    parts = {"discriminator": loss, "score_lead": jnp.mean(real - generated)}
    if gamma == 0.0:
        return loss, parts
    cond, generated, real = (pictures[::penalty_every] for pictures in shown)
    cond, pictures = jnp.concatenate([cond, cond]), jnp.concatenate([real, generated])
    slope = jax.grad(lambda pictures: jnp.sum(jnp.mean(scores(pictures, cond), axis=1)))(pictures)
    # The mean over one side's pictures, summed over both sides.
    penalty = 2.0 * jnp.mean(jnp.sum(jnp.square(slope), axis=(1, 2, 3)))
    return loss + 0.5 * gamma * penalty, {**parts, "penalty": penalty}


LOSSES.add("adversarial", AdversarialConfig)
