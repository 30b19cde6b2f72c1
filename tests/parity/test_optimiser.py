"""The optimiser's level on narrow networks, and the faults that it must see."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from export.edge.errors import UserError
from jax_impl.config.as_json import to_json
from jax_impl.config.data import DataConfig
from jax_impl.config.tree import Config, OptimConfig, TrainConfig
from jax_impl.data.loader import load
from jax_impl.model.unet import UNetModelConfig
from jax_impl.training.objective import Problem
from jax_impl.training.optim import clip_by_global_norm, learning_rate, make_optimizer, scale_by_adam
from tests.parity.conftest import TRAINED
from tests.parity.ladder import Line
from tests.parity.optimiser import (
    Course,
    MakeOptimizer,
    Trained,
    course_for,
    float64_lines,
    optimiser,
    train_in_jax,
    train_in_torch,
)
from tests.parity.subject import Subject, with_weights
from torch_ref.trainer import Recipe, make_scheduler
from torch_ref.weights import build_model, to_jax


@pytest.mark.parametrize("subject", ["seed"], indirect=True)
def test_a_course_in_float64(subject: Subject) -> None:
    """Twenty steps, two an epoch, as below."""
    course = course_for(subject, 20, subject.config.data.size, 4)
    reference = train_in_torch(subject.bundle.model, subject.schedule, course, "float64")
    ours = train_in_jax(subject.problem, subject.params, subject.stats, course, "float64")
    lines = list(float64_lines(reference, ours))
    assert {line.what.partition(" after")[0] for line in lines} == {
        *("parameters", "loss curve", "running statistics", "first moments", "second moments")
    }
    assert all(line.passed for line in lines), [(line.what, line.relative) for line in lines]


@pytest.mark.slow  # What float32 adds has no verdict.
@pytest.mark.parametrize("subject", TRAINED, indirect=True)
def test_a_course_in_both_dtypes(subject: Subject) -> None:
    """Twenty steps, two an epoch: enough for five learning rates, and for every quantity to move."""
    lines = list(optimiser(subject, steps=20, size=subject.config.data.size, batch=4))
    quantities = {"parameters", "loss curve"} | ({"running statistics"} if subject.stats else {"averaged parameters"})
    moments = {"first moments", "second moments"}
    for dtype, pair, expected in (
        ("float64", "JAX · torch", quantities | moments),
        ("float32", "JAX · torch", quantities),
        ("float32", "torch, batches reversed · torch", quantities),
        ("float32", "torch · torch in float64", quantities),
    ):
        found = [line for line in lines if (line.dtype, line.pair) == (dtype, pair)]
        assert {line.what.partition(" after")[0] for line in found} == expected
        if dtype == "float64":
            assert all(line.passed for line in found), [(line.what, line.relative) for line in found]
        else:
            # How far float32 runs drift is chance, and differs from one processor to the next: no verdict here.
            assert all(0.0 <= line.relative < 0.1 for line in found), [(line.what, line.relative) for line in found]


@dataclass(frozen=True)
class Small:
    """A network of two blocks and twenty steps of it, in torch; the optimiser does not see the difference."""

    problem: Problem
    weights: tuple
    course: Course
    reference: Trained

    def lines(self, of: MakeOptimizer) -> dict[str, Line]:
        """The float64 lines with an optimiser of one's own, by quantity."""
        # Each fault is a program of its own, which compiles for much longer than it runs.
        before = jax.config.read("jax_disable_most_optimizations")
        jax.config.update("jax_disable_most_optimizations", True)
        try:
            ours = train_in_jax(self.problem, *self.weights, self.course, "float64", of)
        finally:
            jax.config.update("jax_disable_most_optimizations", before)
        return {line.what.partition(" after")[0]: line for line in float64_lines(self.reference, ours)}


@pytest.fixture(scope="module")
def small() -> Small:
    return make_small("adamw")


def make_small(optimizer: Literal["adamw", "muon"]) -> Small:
    """Twenty steps of a small network with that optimiser."""
    config = Config(
        data=DataConfig(size=16, synthetic_pairs=4),
        model=UNetModelConfig(width=4, groups=2, multipliers=(1,), blocks=1, head="plain"),
        optim=OptimConfig(optimizer=optimizer, learning_rate=1e-3, decay_epochs=2, clip_norm=0.8, ema_decay=0.9),
        train=TrainConfig(epochs=10, batch_size=2),
    )
    tree = json.loads(to_json(config))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model(tree)
    network, *weights = with_weights(config, to_jax(model.state_dict(), tree))
    problem = Problem.of(network, config)
    alphas = np.asarray(problem.process.published().alphas_cumprod)
    course = Course(config, load(config.data, "train"), steps=20, per_epoch=2)
    reference = train_in_torch(model, alphas, course, "float64")
    return Small(problem, tuple(weights), course, reference)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_without_a_fault_every_line_passes(optimizer: Literal["adamw", "muon"], request: pytest.FixtureRequest) -> None:
    small = request.getfixturevalue("small") if optimizer == "adamw" else make_small(optimizer)
    lines = small.lines(make_optimizer)
    assert {"parameters", "first moments", "second moments", "averaged parameters", "loss curve"} == lines.keys()
    # With room to spare, or the faults below would be seen by luck.
    assert all(line.relative < 1e-2 * line.tolerance for line in lines.values())


def test_weight_decay_outside_the_learning_rate_is_caught(small: Small) -> None:
    def faulty(config: OptimConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
        return optax.chain(
            clip_by_global_norm(config.clip_norm),
            scale_by_adam(),
            optax.scale_by_learning_rate(schedule),
            optax.add_decayed_weights(-config.weight_decay),
        )

    assert not small.lines(faulty)["parameters"].passed


def test_clipping_without_torch_s_1e_6_is_caught(small: Small) -> None:
    def faulty(config: OptimConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
        return optax.chain(
            optax.clip_by_global_norm(config.clip_norm), make_optimizer(replace(config, clip_norm=0.0), schedule)
        )

    lines = small.lines(faulty)
    assert not lines["first moments"].passed
    assert not lines["second moments"].passed


def test_a_learning_rate_that_drops_one_step_late_is_caught(small: Small) -> None:
    def faulty(config: OptimConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
        return make_optimizer(config, lambda step: schedule(jnp.maximum(step - 1, 0)))

    assert not small.lines(faulty)["parameters"].passed


@pytest.mark.parametrize("clipped", [True, False])
def test_a_run_that_clips_always_or_never_is_refused(small: Small, clipped: bool) -> None:
    run = replace(small.reference, clipped=np.full(20, clipped))
    with pytest.raises(UserError, match=r"clipped the gradient in (0|20) of 20"):
        next(float64_lines(run, small.reference))


def test_a_run_whose_learning_rate_stays_is_refused(small: Small) -> None:
    with pytest.raises(UserError, match="learning rate took 1 values"):
        next(float64_lines(replace(small.reference, rates=np.ones(20)), small.reference))


@pytest.mark.parametrize("subject", ["seed"], indirect=True)
def test_too_few_steps_are_refused(subject: Subject) -> None:
    with pytest.raises(UserError, match="--steps is 9"):
        next(optimiser(subject, steps=9, size=16, batch=2))


@pytest.mark.parametrize("per_epoch", [1, 7])
@pytest.mark.parametrize("warmup", [0, 1, 2, 30, 45, 500])
@pytest.mark.parametrize("schedule", ["step", "cosine"])
def test_the_learning_rate_of_every_step_is_torch_s(schedule: str, warmup: int, per_epoch: int) -> None:
    """With torch's own schedulers; 45 steps of warm-up end after the first drop, 500 after the run."""
    config = Config(
        optim=OptimConfig(learning_rate=3e-4, schedule=schedule, decay_epochs=4, decay_factor=0.3, warmup_steps=warmup),
        train=TrainConfig(epochs=30),
    )
    steps = 30 * per_epoch
    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=config.optim.learning_rate)
    scheduler = make_scheduler(optimizer, Recipe.of(json.loads(to_json(config))), per_epoch)
    theirs = []
    for _ in range(steps):
        theirs.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    with jax.enable_x64(True):
        ours = jax.jit(jax.vmap(learning_rate(config.optim, per_epoch, steps)))(jnp.arange(steps, dtype=jnp.int32))
    assert ours.dtype == np.float64
    np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-14)


def test_a_constant_gradient_is_followed_at_the_full_rate() -> None:
    """m / (1 - β₁ⁿ) is then g and v / (1 - β₂ⁿ) is g², whatever n, also in float32."""
    adam, gradient = scale_by_adam(), {"w": jnp.asarray([0.3, -2.0], jnp.float32)}
    state, step = adam.init(gradient), jax.jit(adam.update)
    for _ in range(50):
        direction, state = step(gradient, state)
        # What the moments' own rounding leaves; 1 - 0.999**n in float32 would leave 1e-5.
        np.testing.assert_allclose(direction["w"], [1.0, -1.0], rtol=3e-6)
