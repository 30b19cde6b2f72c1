"""Lets trainings of tests share their traced and compiled steps."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_impl.config.data import DataConfig
from jax_impl.config.fields import FREE_ON_RESUME
from jax_impl.config.tree import Config
from jax_impl.diffusion.sampling import SamplerConfig, make_sampler
from jax_impl.evaluation import methods
from jax_impl.model.network import Network, Tree, build
from jax_impl.runs import folder, translator
from jax_impl.training import starting
from jax_impl.training.objective import Problem
from jax_impl.training.session import outline
from jax_impl.training.stages import denoising, realism
from jax_impl.training.stages.denoising import DenoisingStage
from jax_impl.training.stages.realism import RealismStage
from jax_impl.training.step import make_statistics_step
from tests.sharing.use import IN_USE


@contextlib.contextmanager
def shared_steps() -> Iterator[None]:
    """Let runs with the same settings share their jitted functions, fresh weights and one outline of their state.

    Most of the time of such runs is tracing.
    """
    if IN_USE["steps"]:
        yield
        return
    made: dict[Any, Any] = {}

    def kept(method: Callable[..., Any]) -> Callable[..., Any]:
        def get(self: Any, *args: Any) -> Any:
            config, own = self.problem.config, getattr(self, "own", None)
            config = config if own is None else replace(config, stages=(own,))  # No step knows of other stages.
            key = (method.__name__, type(self), own, same_steps(config), *args)
            if key not in made:
                made[key] = method(self, *args)
            return made[key]

        return get

    def outlined(config: Config, index: int) -> Any:
        key = ("outline", same_steps(config), index)
        if key not in made:
            made[key] = outline(config, index)
        return made[key]

    def fresh(config: Config, key: jax.Array) -> tuple[Network, Tree, Tree]:
        if isinstance(key, jax.core.Tracer):  # An outline draws none.
            return build(config, key)
        name = ("fresh", config.model, config.diffusion.timesteps, config.codec, jax.random.key_data(key).tobytes())
        if name not in made:
            network, *weights = build(config, key)
            made[name] = network, jax.tree.map(np.array, weights)
        network, weights = made[name]
        # Copies: the first step takes the buffers of its state.
        return network, *jax.tree.map(jnp.array, weights)

    def sampler(problem: Problem, chosen: SamplerConfig, kept: Sequence[int] = ()) -> Any:
        columns = json.dumps(chosen.plan.to_columns())
        # Networks to start from are constants of the program.
        others = id(problem.others)
        key = (problem.network, problem.config.codec, columns, chosen.bound, chosen.guidance, tuple(kept), others)
        if key not in made:
            made[key] = make_sampler(problem, chosen, kept)
        return made[key]

    def statistics(problem: Problem) -> Any:
        key = ("statistics", same_steps(problem.config))
        if key not in made:
            made[key] = make_statistics_step(problem)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        for stage in (DenoisingStage, RealismStage):
            for name in ("make_step", "make_validation"):
                patch.setattr(stage, name, kept(getattr(stage, name)))
        for module in (denoising, realism):
            patch.setattr(module, "build", fresh)
        for module in (translator, methods, denoising):
            patch.setattr(module, "make_sampler", sampler)
        patch.setattr(denoising, "make_statistics_step", statistics)
        patch.setattr(starting, "outline", outlined)
        patch.setitem(IN_USE, "steps", True)
        patch.setattr(folder, "outline_state", outlined)
        yield


def same_steps(config: Config) -> Config:
    """The settings without those of how long to train, where pairs come from, what to keep and to show.

    No step depends on them: of those of data, only on the changes that it makes to the pictures.
    """
    data = DataConfig(size=config.data.size, crop_size=config.data.crop_size, augment=config.data.augment)
    # Some processes have but one step.
    train = replace(plain(config.train), sample_steps=1)
    return replace(config, data=data, optim=plain(config.optim), train=train)


def plain(settings: Any) -> Any:
    """A dataclass of settings, with the defaults of all that a resumed run may change."""
    free = (field for field in fields(settings) if FREE_ON_RESUME.items() <= field.metadata.items())
    return replace(settings, **{field.name: field.default for field in free})
