"""The bridge and the flow in JAX, by their tables, against torch, which follows the papers' equations step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from export.edge.errors import UserError
from jax_impl.diffusion.bridge import BRIDGE_SAMPLERS, BridgeConfig
from jax_impl.diffusion.flow import FLOW_SAMPLERS, FlowConfig
from jax_impl.diffusion.process import Process
from jax_impl.diffusion.samplers import sample, start_state
from tests.parity.subject import to_nhwc, to_torch
from torch_ref import bridges

TOTAL = 50
TOLERANCE = 1e-10
"""In float64: a mistake would be far larger, rounding is far smaller."""
RNG = np.random.default_rng(4)
X0, COND, NOISE, OUTPUT = (RNG.normal(scale=0.7, size=(TOTAL, 3, 2, 3)) for _ in range(4))
EVERY_T = np.arange(TOTAL)
SHARE = torch.from_numpy((EVERY_T + 1.0) / TOTAL)
STEP_NOISE = RNG.normal(size=(TOTAL, *COND.shape))


def in_float64(function: Callable[..., Any], *arrays: np.ndarray) -> list[np.ndarray]:
    with jax.enable_x64(True):
        return [np.asarray(found) for found in function(*(jnp.asarray(array) for array in arrays))]


def crude(x: Any, cond: Any, t: Any, tanh: Callable[[Any], Any]) -> Any:
    """An imperfect network, some of whose estimates lie beyond the clamp."""
    return 1.3 * tanh(0.9 * x - 0.4 * cond) + 0.01 * t


def by_jax(process: Process, sampler: str, steps: int, spacing: str = "trailing") -> list[np.ndarray]:
    """The states after every call."""
    plan = process.plan(steps, sampler, spacing=spacing)

    def walk(cond: jax.Array, noise: jax.Array, step_noise: jax.Array) -> tuple[jax.Array, ...]:
        def denoise(x_t: jax.Array, cond: jax.Array, t: jax.Array) -> jax.Array:
            return crude(x_t, cond, t.astype(x_t.dtype)[:, None, None, None], jnp.tanh)

        start = start_state(plan, {}, cond, noise)
        by = sample(denoise, cond, start, plan, lambda call: step_noise[call], process.bound(sampler), range(len(plan)))
        return tuple(by.frames)

    return in_float64(walk, COND, NOISE, STEP_NOISE)


def network(x: torch.Tensor, cond: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    return crude(x, cond, t.to(x.dtype)[:, None, None, None], torch.tanh)


def step_noise(index: int) -> torch.Tensor:
    return to_torch(STEP_NOISE[index])


def assert_close(ours: list[np.ndarray], theirs: list[torch.Tensor]) -> None:
    assert len(ours) == len(theirs)
    for found, wanted in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(found, to_nhwc(wanted), rtol=0, atol=TOLERANCE)


def test_states_of_the_bridge_at_every_timestep() -> None:
    process = BridgeConfig(timesteps=TOTAL, noise=0.4).create()

    def states(x0: jax.Array, cond: jax.Array, noise: jax.Array) -> list[jax.Array]:
        noised = process.corrupt(x0, cond, jnp.asarray(EVERY_T), noise)
        return [noised.x_t, process.target(x0, noised), process.to_x0(noise, noised.x_t, noised.t)]

    x_t = bridges.bridge_state(*(to_torch(array) for array in (X0, COND, NOISE)), SHARE, 0.4)
    assert_close(in_float64(states, X0, COND, NOISE), [x_t, to_torch(X0), to_torch(NOISE)])


@pytest.mark.parametrize("prediction", ["x0", "velocity"])
def test_states_of_the_flow_at_every_timestep(prediction: Any) -> None:
    process = FlowConfig(timesteps=TOTAL, start_noise=0.3, prediction=prediction).create()

    def states(x0: jax.Array, cond: jax.Array, noise: jax.Array, output: jax.Array) -> list[jax.Array]:
        noised = process.corrupt(x0, cond, jnp.asarray(EVERY_T), noise)
        target, x0_hat = process.target(x0, noised), process.to_x0(output, noised.x_t, noised.t)
        return [noised.x_t, target, x0_hat, process.to_x0(target, noised.x_t, noised.t)]

    x0, cond, noise, output = (to_torch(array) for array in (X0, COND, NOISE, OUTPUT))
    start = cond + 0.3 * noise
    x_t = bridges.flow_state(x0, start, SHARE)
    target, x0_hat = (x0, output)
    if prediction == "velocity":
        # The change of the state from one share to the next, of a line.
        target, x0_hat = start - x0, x_t - SHARE[:, None, None, None] * output
    assert_close(in_float64(states, X0, COND, NOISE, OUTPUT), [x_t, target, x0_hat, x0])


@pytest.mark.parametrize("sampler", BRIDGE_SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 3, 7, TOTAL])
def test_samplers_of_the_bridge(sampler: str, steps: int) -> None:
    config = BridgeConfig(timesteps=TOTAL, noise=0.4, sample_steps=1)
    how = bridges.Walk(sampler, steps, TOTAL, noise=0.4)
    walk = list(bridges.sample_bridge(network, to_torch(COND), to_torch(COND), step_noise, how))
    assert_close(by_jax(config.create(), sampler, steps), [call.x for call in walk])
    assert [call.t for call in walk] == config.create().plan(steps, sampler).t.tolist()


@pytest.mark.parametrize("sampler", FLOW_SAMPLERS)
@pytest.mark.parametrize(
    ("prediction", "steps"), [("x0", 1), ("x0", 7), ("velocity", 1), ("velocity", 2), ("velocity", 7)]
)
def test_samplers_of_the_flow(sampler: str, prediction: Any, steps: int) -> None:
    config = FlowConfig(timesteps=TOTAL, start_noise=0.3, prediction=prediction, sample_steps=1)
    how = bridges.Walk(sampler, steps, TOTAL, velocity=prediction == "velocity")
    walk = list(bridges.sample_flow(network, to_torch(COND), to_torch(COND + 0.3 * NOISE), how))
    assert_close(by_jax(config.create(), sampler, steps), [call.x for call in walk])
    assert [call.t for call in walk] == config.create().plan(steps, sampler).t.tolist()


def test_an_unknown_sampler_is_named() -> None:
    cond = to_torch(COND)
    with pytest.raises(UserError, match="sampler 'ddim' is unknown; choose one of dbim, dbim2, i2sb"):
        next(bridges.sample_bridge(network, cond, cond, step_noise, bridges.Walk("ddim", 2)))
    with pytest.raises(UserError, match="sampler 'ddim' is unknown; choose one of euler, heun, ab2"):
        next(bridges.sample_flow(network, cond, cond, bridges.Walk("ddim", 2)))
