"""The optimiser against torch, step by step, in float64."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from jax_impl.config.tree import OptimConfig
from jax_impl.training.optim import clip_by_global_norm, learning_rate, make_optimizer


@pytest.mark.parametrize("clip_norm", [0.0, 0.5, 100.0])
def test_two_hundred_steps_against_torch(clip_norm: float) -> None:
    config = OptimConfig(learning_rate=1e-2, clip_norm=clip_norm, decay_epochs=3)
    per_epoch, epochs = 10, 20
    rng = np.random.default_rng(0)
    start = {"a": rng.normal(size=(4, 3)), "b": rng.normal(size=5)}
    grads = [{k: rng.normal(size=v.shape) for k, v in start.items()} for _ in range(per_epoch * epochs)]

    theirs = {k: torch.nn.Parameter(torch.tensor(v)) for k, v in start.items()}
    adamw = torch.optim.AdamW(theirs.values(), lr=1e-2, weight_decay=0.01)
    steplr = torch.optim.lr_scheduler.StepLR(adamw, step_size=3, gamma=0.5)
    for n, grad in enumerate(grads):
        for k, p in theirs.items():
            p.grad = torch.tensor(grad[k])
        if clip_norm:
            torch.nn.utils.clip_grad_norm_(theirs.values(), clip_norm)
        adamw.step()
        if (n + 1) % per_epoch == 0:
            steplr.step()

    with jax.enable_x64(True):
        optimizer = make_optimizer(config, learning_rate(config, per_epoch, per_epoch * epochs))
        params = {k: jnp.asarray(v) for k, v in start.items()}
        state = optimizer.init(params)
        step = jax.jit(optimizer.update)
        for grad in grads:
            updates, state = step({k: jnp.asarray(v) for k, v in grad.items()}, state, params)
            params = optax.apply_updates(params, updates)
        for k, p in theirs.items():
            np.testing.assert_allclose(params[k], p.detach().numpy(), atol=1e-10)


def test_step_decay_changes_at_the_first_step_of_its_epoch() -> None:
    schedule = learning_rate(OptimConfig(learning_rate=1.0, decay_epochs=2), 5, 30)
    values = [float(schedule(n)) for n in range(30)]
    assert values == [1.0] * 10 + [0.5] * 10 + [0.25] * 10


def test_cosine_ends_at_zero_after_a_linear_rise() -> None:
    config = OptimConfig(learning_rate=1.0, schedule="cosine", warmup_steps=4)
    schedule = learning_rate(config, 10, 20)
    values = [float(schedule(n)) for n in range(21)]
    assert values[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert all(b < a for a, b in itertools.pairwise(values[5:]))
    assert values[12] == pytest.approx(0.5, abs=0.01)
    assert values[20] == pytest.approx(0.0, abs=1e-7)


def test_clipping_keeps_the_direction_and_bounds_the_norm() -> None:
    grads = {"a": jnp.asarray([3.0]), "b": jnp.asarray([4.0])}
    clipped, _ = clip_by_global_norm(1.0).update(grads, optax.EmptyState())
    assert float(optax.tree.norm(clipped)) == pytest.approx(1.0, rel=1e-6)
    assert float(clipped["b"][0] / clipped["a"][0]) == pytest.approx(4 / 3)
    kept, _ = clip_by_global_norm(10.0).update(grads, optax.EmptyState())
    assert float(kept["a"][0]) == 3.0
