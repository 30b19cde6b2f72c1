"""The training step: it learns, it is a function of its inputs, and its loss is the one written down."""

from __future__ import annotations

import dataclasses
from functools import cache, partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from export.edge.choices import Prediction
from jax_impl.config.data import AugmentConfig, DataConfig
from jax_impl.config.tree import Config, DiffusionConfig, OptimConfig, TrainConfig
from jax_impl.diffusion.flow import FlowConfig
from jax_impl.diffusion.guidance import HIDDEN
from jax_impl.diffusion.losses.hybrid import HybridConfig
from jax_impl.diffusion.losses.registry import Losses
from jax_impl.model.blocks import BATCH_NORM_MOMENTUM
from jax_impl.model.seed_unet import SeedModelConfig
from jax_impl.model.unet import UNetModelConfig
from jax_impl.training.batches import Drawn, draw_batch, to_unit
from jax_impl.training.interfaces import Batch
from jax_impl.training.objective import Problem, diffusion_loss, make_validation_loss, picture_of
from jax_impl.training.optim import learning_rate, make_optimizer
from jax_impl.training.progress import fetch
from jax_impl.training.state import create
from jax_impl.training.step import make_statistics_step, make_train_step, mean_gradient, update_ema


def setup(
    kind: str = "unet",
    prediction: Prediction = "x0",
    head: Literal["plain", "affine"] = "affine",
    dropout: float = 0.0,
):
    """The problem, a fresh state, the jitted step and four pairs; traced once, and the step consumes the state."""
    problem, state, step, pairs = made(kind, prediction, head, dropout)
    return problem, jax.tree.map(jnp.copy, state), step, pairs


@cache
def made(kind: str, prediction: Prediction, head: Literal["plain", "affine"], dropout: float):
    model = SeedModelConfig(width=4)
    if kind == "unet":
        model = UNetModelConfig(width=8, groups=4, multipliers=(1,), blocks=1, head=head, dropout=dropout)
    config = Config(
        data=DataConfig(size=16, augment=AugmentConfig(flip=0.0, rotation=0, perspective=0, jitter_probability=0)),
        model=model,
        diffusion=DiffusionConfig(prediction=prediction),
        optim=OptimConfig(learning_rate=3e-3, ema_decay=0.9, more_ema_decays=(0.15,)),
        train=TrainConfig(batch_size=4),
    )
    optimizer = make_optimizer(config.optim, learning_rate(config.optim, 100, 100))
    network, state = create(config, optimizer)
    problem = Problem.of(network, config)
    rng = np.random.default_rng(0)
    x0 = np.repeat(np.repeat(rng.integers(0, 256, (4, 2, 2, 3)), 8, 1), 8, 2).astype(np.uint8)
    pairs = Batch(jnp.asarray(255 - x0), jnp.asarray(x0))
    return problem, state, partial(make_train_step(problem, 100), total=100), pairs


# Gradients of either network are those of PyTorch: one that learns is enough.
@pytest.mark.parametrize(("kind", "prediction"), [("unet", "v"), pytest.param("seed", "x0", marks=pytest.mark.slow)])
def test_the_loss_falls_on_a_few_pairs(kind: str, prediction: Prediction) -> None:
    _, state, step, pairs = setup(kind, prediction)
    losses = []
    for _ in range(60):
        state, metrics = step(state, pairs, jnp.arange(4))
        losses.append(fetch(metrics)["loss"])
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:5])
    assert int(state.step) == 60


def test_equal_states_take_equal_steps_and_other_steps_draw_other_noise() -> None:
    _, a, step, pairs = setup(prediction="v")
    _, b, _, _ = setup(prediction="v")
    c = dataclasses.replace(setup(prediction="v")[1], step=jnp.asarray(7, jnp.int32))
    results = [fetch(step(state, pairs, jnp.arange(4))[1])["loss"] for state in (a, b, c)]
    assert results[0] == results[1] != results[2]


def test_dropout_follows_from_key_and_step_and_leaves_the_other_draws_alone() -> None:
    problem, state, step, pairs = setup(prediction="v", dropout=0.5)

    def losses() -> list[float]:
        found, now = [], jax.tree.map(jnp.copy, state)
        for _ in range(4):
            now, metrics = step(now, pairs, jnp.arange(4))
            found.append(fetch(metrics)["loss"])
        return found

    first = losses()
    assert losses() == first
    # A fresh network says the same whatever is dropped: these are the draws of a step without dropout.
    draw = jax.jit(lambda key: draw_batch(problem.config, key, pairs, jnp.arange(4)))
    cond, x0, t, eps, _ = draw(jax.random.fold_in(state.key, 0))
    signal, noise, _ = map(np.asarray, problem.process.corrupt(x0, cond, t, eps).levels)
    error = np.asarray(signal * eps - noise * x0 - cond, np.float64)
    assert first[0] == pytest.approx(np.mean(error**2) + 0.1 * np.mean(np.abs(error)), rel=1e-5)


@pytest.mark.parametrize("head", ["plain", "affine"])
@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_the_loss_of_a_fresh_network_is_its_distance_from_the_target(
    prediction: Prediction, head: Literal["plain", "affine"]
) -> None:
    problem, state, _, pairs = setup("unet", prediction, head)
    cond, x0 = to_unit(pairs.cond), to_unit(pairs.x0)
    eps = jax.random.normal(jax.random.key(0), x0.shape)
    t = jnp.full(4, 300)
    signal, noise, _ = map(np.asarray, problem.process.corrupt(x0, cond, t, eps).levels)
    target = {"eps": eps, "x0": x0, "v": signal * eps - noise * x0}[prediction]
    # A plain head starts by saying nothing, an affine one by copying cond.
    error = np.asarray(target - (cond if head == "affine" else 0.0), np.float64)
    loss, (terms, _) = diffusion_loss(problem, state.params, state.stats, Drawn(cond, x0, t, eps))
    assert float(terms["mse"]) == pytest.approx(np.mean(error**2), rel=1e-5)
    assert float(loss) == pytest.approx(np.mean(error**2) + 0.1 * np.mean(np.abs(error)), rel=1e-5)


def test_hiding_some_guiding_pictures_changes_no_other_draw() -> None:
    problem, state, _, _ = setup()
    pairs = Batch(*(jnp.full((64, 16, 16, 3), value, jnp.uint8) for value in (200, 90)))
    config = dataclasses.replace(problem.config, diffusion=DiffusionConfig(cond_dropout=0.25))
    plain, hiding = (draw_batch(c, state.key, pairs, jnp.arange(64)) for c in (problem.config, config))
    for a, b in zip(plain[1:], hiding[1:], strict=True):
        np.testing.assert_array_equal(a, b)
    hidden = np.all(np.asarray(hiding[0]) == HIDDEN, axis=(1, 2, 3))
    np.testing.assert_array_equal(hiding[0][~hidden], plain[0][~hidden])
    # Three standard deviations of a binomial draw: 16 ± 10.4.
    assert 5 < hidden.sum() < 27


def test_crops_change_no_other_draw_and_keep_their_place_where_the_picture_is_hidden() -> None:
    problem, state, _, _ = setup()
    pairs = Batch(*(jnp.full((64, 16, 16, 3), value, jnp.uint8) for value in (200, 90)))

    def draw(crop_size: int, coordinates: bool, cond_dropout: float = 0.0) -> list[np.ndarray]:
        config = dataclasses.replace(
            problem.config,
            data=dataclasses.replace(problem.config.data, crop_size=crop_size),
            model=dataclasses.replace(problem.config.model, coordinates=coordinates),
            diffusion=DiffusionConfig(cond_dropout=cond_dropout),
        )
        return [np.asarray(a) for a in draw_batch(config, state.key, pairs, jnp.arange(64))]

    whole, placed, plain, shown, hiding = (
        draw(0, False), draw(0, True), draw(8, False), draw(8, True), draw(8, True, 0.25)
    )  # fmt: skip
    for a, b in zip(whole, placed, strict=True):  # the network itself adds the coordinates of whole pictures
        np.testing.assert_array_equal(a, b)
    assert whole[0].shape == whole[3].shape == (64, 16, 16, 3)
    assert plain[0].shape == plain[1].shape == plain[3].shape == (64, 8, 8, 3)
    for a, b in zip(plain[1:], shown[1:], strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(shown[0][..., :3], plain[0])
    np.testing.assert_array_equal(plain[2], whole[2])
    np.testing.assert_array_equal(hiding[0][..., 3:], shown[0][..., 3:])
    assert len(np.unique(shown[0][:, 0, 0, 3:], axis=0)) > 20
    hidden = np.all(hiding[0][..., :3] == HIDDEN, axis=(1, 2, 3))
    np.testing.assert_array_equal(hiding[0][~hidden], shown[0][~hidden])
    # Three standard deviations of a binomial draw: 16 ± 10.4.
    assert 5 < hidden.sum() < 27


def test_min_snr_weighs_each_picture_and_the_validation_loss_too() -> None:
    problem, state, _, pairs = setup("unet", "v", "plain")
    weighted = problem._replace(losses=Losses((HybridConfig(weighting="min_snr", mae_weight=0.0),)))
    x0, t = to_unit(pairs.x0), jnp.asarray([10, 300, 600, 990])
    eps = jax.random.normal(jax.random.key(0), x0.shape)
    signal, noise, _ = (np.ravel(level) for level in problem.process.corrupt(x0, x0, t, eps).levels)
    snr = (signal / noise) ** 2
    # A fresh plain head says nothing, so that the error is v itself.
    v = signal[:, None, None, None] * eps - noise[:, None, None, None] * x0
    expected = np.mean(np.minimum(snr, 5.0) / (snr + 1.0) * np.mean(np.square(v), axis=(1, 2, 3)))
    loss, _ = diffusion_loss(weighted, state.params, state.stats, Drawn(x0, x0, t, eps))
    assert float(loss) == pytest.approx(expected, rel=1e-4)
    losses = [make_validation_loss(p)(state.params, state.stats, pairs) for p in (problem, weighted)]
    assert losses[1] < losses[0]


def test_validation_loss_repeats_and_does_not_depend_on_the_batch_size() -> None:
    problem, state, _, pairs = setup("seed")
    first = make_validation_loss(problem)(state.params, state.stats, pairs)
    config = dataclasses.replace(problem.config, train=TrainConfig(batch_size=3))
    second = make_validation_loss(problem._replace(config=config))(state.params, state.stats, pairs)
    assert first == pytest.approx(second, rel=1e-5)
    assert first > 0


def test_statistics_are_those_of_the_batch_alone() -> None:
    problem, state, _, pairs = setup("seed")
    step = make_statistics_step(problem)
    key = jax.random.key(0)
    from_fresh = step(state.params, state.stats, pairs, jnp.arange(4), key)
    others = jax.tree.map(lambda s: s + 3.0, state.stats)
    from_others = step(state.params, others, pairs, jnp.arange(4), key)
    for a, b in zip(jax.tree.leaves(from_fresh), jax.tree.leaves(from_others), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_statistics_are_those_of_states_from_the_source_of_the_process() -> None:
    problem, state, _, pairs = setup("seed")
    problem = problem._replace(process=FlowConfig().create())
    step, key = make_statistics_step(problem), jax.random.key(1)
    given = (state.params, state.stats, pairs, jnp.arange(4), key)
    drawn = draw_batch(problem.config, key, pairs, jnp.arange(4))
    mean = (jax.tree.map(lambda p: 1.2 * p, state.params), state.stats)
    source = picture_of(problem, mean, drawn.cond, drawn.x0)
    _, (_, wanted) = diffusion_loss(problem, state.params, state.stats, drawn._replace(source=source))
    found, from_cond = step(*given, mean), step(*given)
    moved = jax.tree.map(lambda old, new: old + BATCH_NORM_MOMENTUM * (new - old), state.stats, found)
    for a, b in zip(jax.tree.leaves(moved), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    apart = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), found, from_cond)
    assert max(jax.tree.leaves(apart)) > 1e-3


def test_parts_of_a_batch_are_batches_of_their_own_whose_gradients_are_averaged() -> None:
    """BatchNorm: each part by its own statistics, and the running ones move once for each."""
    problem, state, _, pairs = setup("seed")
    drawn = draw_batch(problem.config, state.key, pairs, jnp.arange(4))
    config = dataclasses.replace(problem.config, optim=dataclasses.replace(problem.config.optim, accumulate=2))
    together = jax.jit(partial(mean_gradient, problem._replace(config=config)))
    grads, metrics, stats = together(state.params, state.stats, drawn)

    alone, wanted_stats, found = jax.jit(partial(mean_gradient, problem)), state.stats, []
    for rows in (slice(0, None, 2), slice(1, None, 2)):
        part, said, wanted_stats = alone(state.params, wanted_stats, Drawn(*(side[rows] for side in drawn[:4])))
        found.append((part, said))
    wanted = jax.tree.map(lambda a, b: (a + b) / 2, *found)
    for got, want in zip(
        jax.tree.leaves((grads, metrics, stats)), jax.tree.leaves((*wanted, wanted_stats)), strict=True
    ):
        np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-6)


def test_average_follows_the_weights() -> None:
    ema, params = {"w": jnp.asarray(0.0)}, {"w": jnp.asarray(1.0)}
    assert float(update_ema(ema, params, jnp.asarray(0), 0.99)["w"]) == pytest.approx(0.9)
    assert float(update_ema(ema, params, jnp.asarray(10**6), 0.99)["w"]) == pytest.approx(0.01, rel=1e-4)


def test_every_average_follows_by_its_own_decay() -> None:
    _, state, step, pairs = setup(prediction="v")
    first, second = (jax.tree.leaves(tree)[0] for tree in (state.ema, state.more_ema[0]))
    first, second = np.array(first, np.float64), np.array(second, np.float64)
    for n in range(3):
        state, _ = step(state, pairs, jnp.arange(4))
        now = np.asarray(jax.tree.leaves(state.params)[0], np.float64)
        start = (1 + n) / (10 + n)
        first += (1 - min(0.9, start)) * (now - first)
        second += (1 - min(0.15, start)) * (now - second)
    np.testing.assert_allclose(jax.tree.leaves(state.ema)[0], first, atol=1e-6)
    np.testing.assert_allclose(jax.tree.leaves(state.more_ema[0])[0], second, atol=1e-6)
    assert np.abs(first - second).max() > 1e-4


def test_to_unit_reaches_both_ends() -> None:
    assert to_unit(jnp.asarray([0, 255], jnp.uint8)).tolist() == [-1.0, 1.0]
