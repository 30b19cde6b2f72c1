"""What training minimises and validation reports: the loss of a batch, in both by the same function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_impl.config.tree import Config
from jax_impl.diffusion.losses.registry import DECODE, FROZEN, Losses, LossSample
from jax_impl.diffusion.process import Noised, Process, Published
from jax_impl.model.codec import Codec, IdentityCodecConfig, codec_of
from jax_impl.model.network import Network, Tree
from jax_impl.shapes import Array, Cond, Features, Float, RandomKey
from jax_impl.training.batches import Drawn, to_unit
from jax_impl.training.frozen import jitted
from jax_impl.training.interfaces import Batch, Metrics, NamedNetworks

LOSS_STREAM = 1
"""Folded into the key of dropout for what is random in a loss term."""
NO_AUX: Mapping[str, Any] = {}
NO_OTHERS: NamedNetworks = {}


class Problem(NamedTuple):
    """What the loss depends on besides weights and data; all of it fixed during a run."""

    network: Network
    config: Config
    process: Process
    losses: Losses
    others: NamedNetworks = NO_OTHERS
    """Networks that sampling starts from, other than the one that is trained."""
    frozen: tuple[Any, ...] = ()
    """Frozen weights of the loss terms, as `Losses.frozen` gives them; here inside compiled functions alone."""

    @staticmethod
    def of(network: Network, config: Config, published: Published | None = None) -> Problem:
        """With the process and the losses of the settings; `published`: what a bundle says of the process."""
        return Problem(network, config, config.diffusion.create(published), Losses(config.losses))

    @property
    def codec(self) -> Codec:
        """The codec of the settings, around the network."""
        return codec_of(self.config.codec)


def diffusion_loss(
    problem: Problem,
    params: Tree,
    stats: Tree,
    drawn: Drawn,
    dropout_key: RandomKey | None = None,
) -> tuple[Float[Array, ""], tuple[Metrics, Tree]]:
    """Loss of one training batch, its parts and the new BatchNorm statistics.

    `dropout_key` is needed by networks with dropout, and by losses with chance.
    """
    cond, x0, t, eps, source = drawn
    source = cond[..., : x0.shape[-1]] if source is None else source
    noised = problem.process.corrupt(x0, source, t, eps)
    output, stats = problem.network.apply(params, stats, noised.x_t, cond, noised.t, train=True, key=dropout_key)
    key = jax.random.key(0) if dropout_key is None else jax.random.fold_in(dropout_key, LOSS_STREAM)
    _, parts = loss_of(problem, cond, x0, noised, output, key)
    return parts["loss"], (parts, stats)


def picture_of(problem: Problem, weights: tuple[Tree, Tree], cond: Cond, like: Features) -> Features:
    """What a network of those weights and statistics makes of cond: its output for a state of zeros at T-1.

    `export.edge.sampling.loop.source_picture` asks it the same. `like`: pictures of the shape of the result.
    """
    t = jnp.full(len(like), problem.process.timesteps - 1, jnp.int32)
    return jax.lax.stop_gradient(problem.network.apply(*weights, jnp.zeros_like(like), cond, t)[0])


def loss_of(
    problem: Problem,
    cond: Cond,
    x0: Features,
    noised: Noised,
    output: Features,
    key: RandomKey,
    aux: Mapping[str, Any] = NO_AUX,
) -> tuple[jax.Array, Metrics]:
    """The loss of what the network says of a batch, (batch,) or scalar, and its parts, as `Losses` gives them.

    Training and validation both call it. `aux`: what a stage gives to loss terms besides the batch. Frozen weights and
    the codec's way to pictures are added.
    """
    aux = {**aux, **({FROZEN: problem.frozen} if problem.frozen else {})}
    if problem.config.codec != IdentityCodecConfig():
        aux[DECODE] = problem.codec.decode
    process = problem.process
    x0_hat = process.to_x0(output, noised.x_t, noised.t)
    sample = LossSample(
        cond, x0, noised.x_t, noised.t, noised.noise, output, process.target(x0, noised), x0_hat, noised.levels
    )
    return problem.losses(sample, key, aux)


def make_validation_loss(problem: Problem, draws: int = 4) -> Callable[..., float]:
    """A function (params, stats, pairs, mean=None) -> mean loss, in evaluation mode, on noise that never changes.

    `mean`: weights and statistics of the network whose picture the process starts from, where it is not cond.

    Each pair meets `draws` timesteps spread evenly over 0…T-1 and offset from pair to
    pair, and loss terms one key, so that values from different epochs are comparable. Pictures are whole, as they
    are when pictures are drawn, also where training sees crops.
    """
    timesteps = problem.process.timesteps
    chunk = problem.config.train.batch_size

    def losses(
        problem: Problem, params: Tree, stats: Tree, pairs: Batch, t: jax.Array, keys: jax.Array, mean: Any
    ) -> jax.Array:
        cond, x0 = (problem.codec.encode(to_unit(side)) for side in pairs)
        eps = jax.vmap(lambda key: jax.random.normal(key, x0.shape[1:], x0.dtype))(keys)
        noised = problem.process.corrupt(x0, cond if mean is None else picture_of(problem, mean, cond, x0), t, eps)
        output, _ = problem.network.apply(params, stats, noised.x_t, cond, noised.t)
        value, _ = loss_of(problem, cond, x0, noised, output, jax.random.key(0))
        return jnp.broadcast_to(value, t.shape)

    compiled = jitted(problem, losses)

    def validation_loss(params: Tree, stats: Tree, pairs: Batch, mean: tuple[Tree, Tree] | None = None) -> float:
        count = len(pairs.x0)
        collected = []
        for draw in range(draws):
            for start in range(0, count, chunk):
                rows = np.arange(start, min(start + chunk, count))
                places = (rows * draws + draw + 0.5) / (count * draws)
                t = jnp.asarray(places * timesteps, jnp.int32)
                keys = jax.vmap(jax.random.key)(jnp.asarray(rows * draws + draw))
                part = Batch(jnp.asarray(pairs.cond[rows]), jnp.asarray(pairs.x0[rows]))
                collected.append(compiled(params, stats, part, t, keys, mean))
        return float(np.mean(np.concatenate(jax.device_get(collected)), dtype=np.float64))

    return validation_loss
