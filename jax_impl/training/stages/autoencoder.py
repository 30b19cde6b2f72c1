"""The stage that trains a learned codec on the pictures of the pairs (after Rombach et al. 2022, section 3.1)."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from export.edge.model.codec import CODEC
from export.edge.model.layout import DENOISER
from jax_impl.config.tree import Config
from jax_impl.data.loader import LazyPairs, Pairs, tolerant
from jax_impl.model.learned_codec import (
    STATISTICS,
    LearnedCodecConfig,
    Tree,
    unknown_statistics,
    with_statistics,
)
from jax_impl.training.batches import to_unit
from jax_impl.training.interfaces import Batch, Metrics, NamedNetworks, StepFunction
from jax_impl.training.stages.autoencoder_config import AutoencoderStageConfig
from jax_impl.training.stages.realism import BETAS, RealismStage, RealismState

STATISTICS_BATCHES = 50
"""Most batches of training pairs over which the statistics of states are measured."""
LEAST_STD = 1e-3
"""Of a channel of the states: one that never changes is not blown up."""
PLAIN_BETAS = (0.9, 0.999)
"""Of Adam where no discriminator plays against the codec."""


class AutoencoderStage:
    """A `Stage` that publishes the codec: the average of its weights, and the statistics of what it encodes.

    It is the translation of each picture into itself in one pass, by a network that sees it through the state alone.
    So the step, the loss terms and the discriminator are those of the stage `realism`. Batches hold as many pictures
    as those of other stages hold pairs: of every pair one side, in turns.
    """

    def __init__(self, own: AutoencoderStageConfig, config: Config) -> None:
        assert isinstance(config.codec, LearnedCodecConfig)
        self.config, self.codec = config, config.codec
        inside = own.inside(config)
        self._plain = RealismStage(inside.stages[0], inside, PLAIN_BETAS if own.adversary() is None else BETAS)

    def init(self, before: NamedNetworks, key: jax.Array) -> RealismState:
        """Fresh weights."""
        return self._plain.init({}, key)

    def make_step(self, per_epoch: int, mesh: Mesh) -> StepFunction:
        """One step of the codec and, where there is one, of the discriminator."""
        inner = self._plain.make_step(per_epoch, mesh)

        def step(
            state: RealismState, pairs: Batch, indices: jax.Array | None, total: jax.Array
        ) -> tuple[RealismState, Metrics]:
            return inner(state, itself(pairs, indices, state.step), None, total)

        return jax.jit(step, donate_argnums=0)

    def networks(self, state: RealismState) -> NamedNetworks:
        """The codec; its statistics are not known before the end."""
        return {CODEC: (with_statistics(self._weights(state), *unknown_statistics(self.codec.channels)), {})}

    def make_validation(self) -> Callable[[NamedNetworks, Batch], float]:
        """The terms that need nothing but pictures, over both sides of the held-out pairs."""
        loss = self._plain.make_validation()

        def validation(networks: NamedNetworks, pairs: Batch) -> float:
            both = np.concatenate([np.asarray(side) for side in pairs])
            return loss(_as_denoiser(networks), Batch(both, both))

        return validation

    def make_pictures(self, cond: jax.Array | np.ndarray) -> Callable[[NamedNetworks], np.ndarray]:
        """The input pictures, encoded and decoded."""
        pictures = self._plain.make_pictures(cond)
        return lambda networks: pictures(_as_denoiser(networks))

    def publish(self, state: RealismState, open_pairs: Callable[[], Pairs | LazyPairs]) -> NamedNetworks:
        """The average of the codec's weights, with the statistics of encoded training pictures."""
        weights = self._weights(state)
        pairs = open_pairs()
        pairs = pairs if isinstance(pairs, Pairs) else tolerant(pairs)
        return {CODEC: (with_statistics(weights, *self._statistics(weights, pairs)), {})}

    def _weights(self, state: RealismState) -> Tree:
        return self._plain.networks(state)[DENOISER][0]

    def _statistics(self, weights: Tree, pairs: Pairs | LazyPairs) -> tuple[jax.Array, jax.Array]:
        """Mean and standard deviation of each channel of the states, (channels,), each picture counted once."""

        @jax.jit
        def moments(weights: Tree, pictures: jax.Array) -> tuple[jax.Array, jax.Array]:
            states = self.codec.apply(weights).encode(to_unit(pictures))
            return states.mean(axis=(1, 2)), jnp.square(states).mean(axis=(1, 2))

        size = self.config.train.batch_size
        found: list[list[np.ndarray]] = [[], []]
        for rows in evenly(len(pairs.names), STATISTICS_BATCHES * size, size):
            for pictures in pictures_at(pairs, rows):
                # Filled up to one size, for which the program is compiled.
                whole = np.concatenate([pictures, np.repeat(pictures[:1], size - len(pictures), axis=0)])
                for kept, values in zip(found, jax.device_get(moments(weights, whole)), strict=True):
                    kept.append(values[: len(pictures)])
        mean, square = (np.concatenate(kept).mean(axis=0, dtype=np.float64) for kept in found)
        std = np.sqrt(np.maximum(square - np.square(mean), LEAST_STD**2))
        return jnp.asarray(mean.astype(np.float32)), jnp.asarray(std.astype(np.float32))


def evenly(count: int, most: int, size: int) -> list[list[int]]:
    """Positions among `count` in lists of at most `size`: all, or `most` of them that are evenly apart."""
    chosen = list(range(count)) if count <= most else [i * count // most for i in range(most)]
    return [chosen[start : start + size] for start in range(0, len(chosen), size)]


def pictures_at(pairs: Pairs | LazyPairs, rows: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets at these positions, uint8 (rows, size, size, 3) each."""
    if isinstance(pairs, Pairs):
        return pairs.cond[rows], pairs.x0[rows]
    with ThreadPoolExecutor(pairs.threads) as pool:
        cond, x0 = zip(*pool.map(pairs.read, rows), strict=True)
    return np.stack(cond), np.stack(x0)


def itself(pairs: Batch, indices: jax.Array | None, step: jax.Array) -> Batch:
    """Pictures as input and target: of the pairs at `indices`, or of all, one side each, the other in the next step."""
    cond, x0 = (side if indices is None else side[indices] for side in pairs)
    first = (jnp.arange(len(cond), dtype=step.dtype) + step) % 2 == 0
    pictures = jnp.where(first[:, None, None, None], cond, x0)
    return Batch(pictures, pictures)


def _as_denoiser(networks: NamedNetworks) -> NamedNetworks:
    """The codec's two sides under the name of the one network that `realism` trains."""
    weights, statistics = networks[CODEC]
    return {DENOISER: ({name: side for name, side in weights.items() if name != STATISTICS}, statistics)}
