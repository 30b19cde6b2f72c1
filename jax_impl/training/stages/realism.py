"""The stage that makes the pictures of one pass sharp: the denoiser trains on against texture and a discriminator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from export.edge.model.layout import DENOISER
from jax_impl.config.tree import Config
from jax_impl.data.loader import LazyPairs, Pairs
from jax_impl.diffusion.losses.anchor import MEAN
from jax_impl.diffusion.losses.registry import Losses
from jax_impl.diffusion.losses.texture import TextureConfig
from jax_impl.diffusion.one_pass import OnePass
from jax_impl.model import discriminator
from jax_impl.model.network import Tree, build, outline
from jax_impl.training.interfaces import Batch, NamedNetworks, StepFunction
from jax_impl.training.objective import Problem, make_validation_loss
from jax_impl.training.optim import learning_rate, make_optimizer, scale_by_adam, scale_by_learning_rate
from jax_impl.training.stages.denoising import DenoisingStage
from jax_impl.training.stages.overfitting import Gauge, make_gauge, warning
from jax_impl.training.stages.realism_config import RealismStageConfig
from jax_impl.training.stages.realism_step import make_realism_step, scores_of
from jax_impl.training.state import TrainState, WithNetwork, with_params

BETAS = (0.0, 0.99)
"""Of both networks' Adam: without a first moment, as opponents in a game need."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RealismState(WithNetwork):
    """What the stage carries from step to step."""

    network: TrainState
    """The denoiser's."""
    mean: tuple[Tree, Tree]
    """Weights and statistics that the stage began with; empty where no term asks for them."""
    discriminator: Tree
    """Its weights; empty where there is none."""
    discriminator_opt: optax.OptState


class RealismStage:
    """A `Stage` that publishes the denoiser; what it learns from, and with, stays here."""

    def __init__(self, own: RealismStageConfig, config: Config, betas: tuple[float, float] = BETAS) -> None:
        self._betas = betas
        # Muon has not been tried against a discriminator; these betas are those of an adversarial game.
        optim = replace(config.optim, optimizer="adamw", learning_rate=own.learning_rate)
        optim = replace(optim, ema_decay=own.ema_decay, more_ema_decays=())
        self.own, self.terms, self.adversary = own, own.terms(config), own.adversary()
        network, _, _ = outline(config)
        config = replace(config, optim=optim)
        process = config.diffusion.create()
        assert isinstance(process, OnePass)
        self.problem = Problem(network, config, process, Losses(self.terms))
        self._sharpest = self.problem._replace(process=process.sharpest())
        self._plain = DenoisingStage(config)

    def init(self, before: NamedNetworks, key: jax.Array) -> RealismState:
        """The weights of the denoiser in `before`; a fresh discriminator."""
        init_key, discriminator_key, key = jax.random.split(key, 3)
        config = self.problem.config
        params, stats = before[DENOISER] if DENOISER in before else build(config, init_key)[1:]
        anchored = any(MEAN in term.needs for term in self.terms)
        mean = jax.tree.map(jnp.copy, (params, stats)) if anchored else ({}, {})
        # The state does not depend on the length of the schedule.
        network = with_params(params, stats, config, self._optimizer(1, 1)[0], key)
        if self.adversary is None:
            return RealismState(network, mean, {}, ())
        weights = discriminator.fresh(config.codec.channels, self.adversary.width, discriminator_key)
        return RealismState(network, mean, weights, self._opponent(self.adversary.learning_rate).init(weights))

    def make_step(self, per_epoch: int, mesh: Mesh) -> StepFunction:
        """One step of the denoiser and, where there is one, of the discriminator."""
        opponent = self._opponent(self.adversary.learning_rate) if self.adversary else None
        return make_realism_step(self.problem, partial(self._optimizer, per_epoch), self.adversary, opponent, mesh=mesh)

    def networks(self, state: RealismState) -> NamedNetworks:
        """The denoiser, with weights that fit its statistics."""
        return self._plain.networks(state.network)

    def make_validation(self) -> Callable[[NamedNetworks, Batch], float]:
        """The terms that need nothing but pictures, at realism 1, in evaluation mode; `texture` where there is none."""
        terms = [term for term in self.terms if not term.needs] or [TextureConfig()]
        loss = make_validation_loss(self._sharpest._replace(losses=Losses(terms)), draws=1)
        return lambda networks, pairs: loss(*networks[DENOISER], pairs)

    def gauged(self, state: RealismState) -> Tree:
        """The discriminator's weights."""
        return state.discriminator

    def make_gauge(self) -> Gauge:
        """How far the discriminator has learned the training pairs by heart; nothing without one."""
        if self.adversary is None:
            return lambda weights, networks, train, held_out: {}
        return make_gauge(self._sharpest, partial(scores_of, self._sharpest, self.adversary))

    def warning(self, figures: Mapping[str, float]) -> str | None:
        """Where that is too far."""
        return warning(figures)

    def make_pictures(self, cond: jax.Array | np.ndarray) -> Callable[[NamedNetworks], np.ndarray]:
        """The pictures of one pass, always from the same noise."""
        return self._plain.make_pictures(cond)

    def publish(self, state: RealismState, open_pairs: Callable[[], Pairs | LazyPairs]) -> NamedNetworks:
        """The average of the denoiser's weights, with statistics that belong to it."""
        return self._plain.publish(state.network, open_pairs)

    def _optimizer(self, per_epoch: int, total: int | jax.Array) -> tuple[optax.GradientTransformation, optax.Schedule]:
        optim = self.problem.config.optim
        schedule = learning_rate(optim, per_epoch, total)
        return make_optimizer(optim, schedule, self._betas), schedule

    def _opponent(self, rate: float) -> optax.GradientTransformationExtraArgs:
        steps = optax.chain(scale_by_adam(*BETAS), scale_by_learning_rate(optax.constant_schedule(rate)))
        return optax.with_extra_args_support(steps)
