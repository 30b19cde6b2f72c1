"""The stage that trains a flow from the pictures of a trained network (after PMRF, Ohayon et al. 2025)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from export.edge.model.layout import DENOISER
from jax_impl.config.tree import Config
from jax_impl.data.loader import LazyPairs, Pairs
from jax_impl.model.network import Tree
from jax_impl.training.frozen import jitted
from jax_impl.training.interfaces import Batch, Metrics, NamedNetworks, StepFunction
from jax_impl.training.mesh import divided, gathered
from jax_impl.training.objective import Problem, make_validation_loss, picture_of
from jax_impl.training.stages.denoising import DenoisingStage
from jax_impl.training.stages.from_mean_config import MEAN
from jax_impl.training.state import TrainState, WithNetwork
from jax_impl.training.step import one_step


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FromMeanState(WithNetwork):
    """What the stage carries from step to step."""

    network: TrainState
    """The denoiser's."""
    mean: tuple[Tree, Tree]
    """Weights and statistics of the network whose pictures the flow starts from; they never change."""


class FromMeanStage:
    """A `Stage` that publishes the denoiser and the network `mean`."""

    def __init__(self, config: Config) -> None:
        self._plain = DenoisingStage(config)
        self.problem = self._plain.problem

    def init(self, before: NamedNetworks, key: jax.Array) -> FromMeanState:
        """Both from the network `mean` of what is there, or from the denoiser where there is none."""
        network = self._plain.init(before, key)
        params, stats = before.get(MEAN, before.get(DENOISER, (network.params, network.stats)))
        # The state is consumed by a step: no array may be in it twice.
        return FromMeanState(network, jax.tree.map(jnp.copy, (params, stats)))

    def make_step(self, per_epoch: int, mesh: Mesh) -> StepFunction:
        """AdamW on the losses of the settings, from the pictures of `mean`."""

        def step(
            problem: Problem, state: FromMeanState, pairs: Batch, indices: jax.Array | None, total: jax.Array
        ) -> tuple[FromMeanState, Metrics]:
            mean = gathered(mesh, state.mean)
            network, metrics = one_step(
                problem, per_epoch, mesh, state.network, (pairs, indices, total),
                lambda drawn: picture_of(problem, mean, drawn.cond, drawn.x0),
            )  # fmt: skip
            return divided(mesh, replace(state, network=network)), metrics

        return jitted(self.problem, step, mesh, consumes=True)

    def networks(self, state: FromMeanState) -> NamedNetworks:
        """Both networks."""
        return {**self._plain.networks(state.network), MEAN: state.mean}

    def make_validation(self) -> Callable[[NamedNetworks, Batch], float]:
        """The training loss in evaluation mode, on noise that never changes."""
        loss = make_validation_loss(self.problem)
        return lambda networks, pairs: loss(*networks[DENOISER], pairs, networks[MEAN])

    def make_pictures(self, cond: jax.Array | np.ndarray) -> Callable[[NamedNetworks], np.ndarray]:
        """Samples in train.sample_steps steps, always from the same noise."""
        return self._plain.make_pictures(cond)

    def publish(self, state: FromMeanState, open_pairs: Callable[[], Pairs | LazyPairs]) -> NamedNetworks:
        """The average of the denoiser's weights, and the network that it starts from."""
        return {**self._plain.publish(state.network, open_pairs, state.mean), MEAN: state.mean}
