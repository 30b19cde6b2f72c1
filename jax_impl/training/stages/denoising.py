"""The stage that trains the denoiser: one network, one optimiser, the losses of the settings."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from export.edge.model.layout import DENOISER
from export.edge.pictures.arrays import to_uint8
from export.edge.sampling.noise import start_noise
from jax_impl.config.tree import Config
from jax_impl.data.loader import LazyPairs, Pairs
from jax_impl.diffusion.sampling import SamplingOptions, make_sampler, resolve
from jax_impl.model.network import Tree, build, outline
from jax_impl.training.batches import to_unit
from jax_impl.training.feed import open_feed
from jax_impl.training.interfaces import Batch, NamedNetworks, StepFunction
from jax_impl.training.objective import Problem, make_validation_loss
from jax_impl.training.optim import learning_rate, make_optimizer
from jax_impl.training.state import TrainState, sampling_weights, with_params
from jax_impl.training.step import make_statistics_step, make_train_step

STATISTICS_BATCHES = 50
"""Training batches over which BatchNorm's statistics are re-estimated."""


class DenoisingStage:
    """A `Stage` that publishes the denoiser: the average of its weights where one is kept."""

    def __init__(self, config: Config) -> None:
        network, _, _ = outline(config)
        self.problem = Problem.of(network, config)

    def init(self, before: NamedNetworks, key: jax.Array) -> TrainState:
        """Random weights, or those of the denoiser in `before`."""
        init_key, key = jax.random.split(key)
        config = self.problem.config
        params, stats = before[DENOISER] if DENOISER in before else build(config, init_key)[1:]
        # The state does not depend on the length of the schedule.
        optimizer = make_optimizer(config.optim, learning_rate(config.optim, 1, 1))
        return with_params(params, stats, config, optimizer, key)

    def make_step(self, per_epoch: int, mesh: Mesh) -> StepFunction:
        """AdamW on the losses of the settings."""
        return make_train_step(self.problem, per_epoch, mesh)

    def networks(self, state: TrainState) -> NamedNetworks:
        """The denoiser, with weights that fit its statistics."""
        return {DENOISER: (sampling_weights(state), state.stats)}

    def make_validation(self) -> Callable[[NamedNetworks, Batch], float]:
        """The training loss in evaluation mode, on noise that never changes."""
        loss = make_validation_loss(self.problem)
        return lambda networks, pairs: loss(*networks[DENOISER], pairs)

    def make_pictures(self, cond: jax.Array | np.ndarray) -> Callable[[NamedNetworks], np.ndarray]:
        """Samples in train.sample_steps steps, always from the same noise."""
        problem = self.problem
        options = SamplingOptions(steps=problem.config.train.sample_steps)
        sampler = make_sampler(problem, resolve(problem, options))
        noise = jnp.asarray(start_noise(0, problem.config.codec.state_shape(cond.shape)))
        inputs = to_unit(cond), noise, jax.random.split(jax.random.key(0), len(cond))

        def pictures(networks: NamedNetworks) -> np.ndarray:
            others = {name: weights for name, weights in networks.items() if name != DENOISER}
            return to_uint8(np.asarray(sampler(*networks[DENOISER], *inputs, others).x0))

        return pictures

    def publish(
        self, state: TrainState, open_pairs: Callable[[], Pairs | LazyPairs], mean: tuple[Tree, Tree] | None = None
    ) -> NamedNetworks:
        """The average of the weights, with statistics that belong to it; the raw weights where none is kept.

        `mean`: the network whose picture the process starts from, where it is not cond.
        """
        if state.ema and state.stats:
            return {
                DENOISER: (state.ema, estimate_statistics(self.problem, state.ema, state.stats, open_pairs(), mean))
            }
        return {DENOISER: (state.ema or state.params, state.stats)}


def estimate_statistics(
    problem: Problem, params: Tree, stats: Tree, pairs: Pairs | LazyPairs, mean: tuple[Tree, Tree] | None = None
) -> Tree:
    """BatchNorm statistics of `params`, shaped like `stats`: the mean over batches of the training pairs.

    Running statistics follow the raw weights and do not fit averaged ones.
    """
    step, found = make_statistics_step(problem), None
    with open_feed(pairs, problem.config) as feed:
        for n in range(STATISTICS_BATCHES):
            new, weight = step(params, stats, *feed.batch(n), jax.random.key(n), mean), 1.0 / (n + 1)
            found = new if found is None else jax.tree.map(lambda m, b, w=weight: m + w * (b - m), found, new)
    return found
