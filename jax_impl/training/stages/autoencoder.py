"""The stage that trains a learned codec on the pictures of the pairs (after Rombach et al. 2022, section 3.1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from export.edge.model.codec import CODEC
from export.edge.model.layout import DENOISER
from jax_impl.config.tree import Config
from jax_impl.data.loader import LazyPairs, Pairs
from jax_impl.diffusion.losses.hybrid import HybridConfig
from jax_impl.diffusion.one_pass import OnePassConfig
from jax_impl.model.codec import IdentityCodecConfig
from jax_impl.model.learned_codec import (
    STATISTICS,
    LearnedCodecConfig,
    ReconstructionConfig,
    Tree,
    unknown_statistics,
    with_statistics,
)
from jax_impl.training.batches import to_unit
from jax_impl.training.feed import open_feed
from jax_impl.training.interfaces import Batch, Metrics, NamedNetworks, StepFunction
from jax_impl.training.stages.autoencoder_config import AutoencoderStageConfig
from jax_impl.training.stages.realism import BETAS, RealismStage, RealismState
from jax_impl.training.stages.realism_config import RealismStageConfig

STATISTICS_BATCHES = 50
"""Most training batches over which the statistics of states are measured; each pair once where there are fewer."""
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
        plain = RealismStageConfig(losses=own.losses, learning_rate=own.learning_rate, ema_decay=own.ema_decay)
        itself = replace(
            config,
            model=ReconstructionConfig(codec=self.codec),
            codec=IdentityCodecConfig(),
            diffusion=OnePassConfig(clamp=None),
            losses=(HybridConfig(),),
            optim=replace(config.optim, accumulate=1),
            train=replace(config.train, sample_steps=1),
            stages=(plain,),
        )
        self._plain = RealismStage(plain, itself, PLAIN_BETAS if own.adversary() is None else BETAS)

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
        return {CODEC: (with_statistics(weights, *self._statistics(weights, open_pairs())), {})}

    def _weights(self, state: RealismState) -> Tree:
        return self._plain.networks(state)[DENOISER][0]

    def _statistics(self, weights: Tree, pairs: Pairs | LazyPairs) -> tuple[jax.Array, jax.Array]:
        """Mean and standard deviation of each channel of the states, (channels,)."""

        @jax.jit
        def moments(weights: Tree, pairs: Batch, indices: jax.Array | None) -> tuple[jax.Array, jax.Array]:
            both = jnp.concatenate([side if indices is None else side[indices] for side in pairs])
            states = self.codec.apply(weights).encode(to_unit(both))
            return states.mean(axis=(0, 1, 2)), jnp.square(states).mean(axis=(0, 1, 2))

        once = -(-len(pairs.names) // self.config.train.batch_size)
        with open_feed(pairs, self.config) as feed:
            batches = range(min(once, STATISTICS_BATCHES))
            found = [jax.device_get(moments(weights, *feed.batch(n))) for n in batches]
        mean, square = np.mean(np.asarray(found, np.float64), axis=0)
        std = np.sqrt(np.maximum(square - np.square(mean), LEAST_STD**2))
        return jnp.asarray(mean.astype(np.float32)), jnp.asarray(std.astype(np.float32))


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
