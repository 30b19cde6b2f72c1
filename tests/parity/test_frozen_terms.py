"""Loss terms with a frozen network, value and gradient, beside torch in float64; and when they count."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jax_impl.diffusion.losses.clip import ClipConfig
from jax_impl.diffusion.losses.frozen import FrozenTermConfig, noise_weight
from jax_impl.diffusion.losses.lpips import LpipsConfig
from jax_impl.diffusion.losses.registry import DECODE, FROZEN, LossSample
from jax_impl.diffusion.process import Levels
from jax_impl.model.blocks import depth_to_space
from tests.torch_ref.clip_networks import random_clip, write_clip
from tests.torch_ref.perceptual_networks import random_alexnet, random_vgg16, write_lpips
from torch_ref.losses import LOSSES as TORCH_LOSSES
from torch_ref.losses import LossSample as TorchSample

BATCH, SIDE, CLOSE = 3, 34, 1e-10
T = np.array([5, 400, 900])
SIGNAL = np.array([0.99, 0.6, 0.05]).reshape(BATCH, 1, 1, 1)
NOISE = np.sqrt(1.0 - SIGNAL**2)


def pictures(seed: int, side: int, channels: int) -> np.ndarray:
    """Smooth pictures with grain, float64."""
    rng = np.random.default_rng(seed)
    slope = np.linspace(-1, 1, side)[None, :, None, None] * rng.normal(size=(BATCH, 1, 1, channels))
    return 0.5 * slope + 0.3 * rng.normal(size=(BATCH, side, side, channels))


def planes(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array.transpose(0, 3, 1, 2).copy())


def sample(shown: list[np.ndarray]) -> LossSample:
    output, x0, cond = map(jnp.asarray, shown)
    levels = Levels(jnp.asarray(SIGNAL), jnp.asarray(NOISE), jnp.ones((BATCH, 1, 1, 1)))
    return LossSample(cond, x0, 0 * x0, jnp.asarray(T, jnp.int32), 0 * x0, output, x0, output, levels)


def assert_same(config: FrozenTermConfig, side: int = SIDE, factor: int = 1) -> None:
    """A term's values, and the gradient of their sum with respect to what the network says, on both sides."""
    shown = [pictures(seed, side // factor, 3 * factor**2) for seed in range(3)]
    frozen, aux = config.frozen(), {}
    if factor > 1:
        aux[DECODE] = lambda states: depth_to_space(states, factor)
    with jax.enable_x64(True):
        term = config.create()

        def value(output: jax.Array) -> jax.Array:
            given = sample(shown)._replace(output=output, x0_hat=output)
            return term(given, jax.random.key(0), {**aux, FROZEN: frozen})[0]

        output = jnp.asarray(shown[0])
        values, pull = jax.jit(lambda output: jax.vjp(value, output))(output)
        (gradient,) = pull(jnp.ones(BATCH))
    assert values.shape == (BATCH,) and gradient.dtype == np.float64

    settings = {name: held for name, held in asdict(config).items() if name not in ("term", "weight")}
    found, x0, cond = map(planes, shown)
    found.requires_grad_()
    given = TorchSample(
        cond, x0, 0 * x0, torch.from_numpy(T), 0 * x0, found, x0, *map(torch.from_numpy, (SIGNAL, NOISE)), "x0"
    )
    theirs: dict[str, Any] = {"decode": lambda states: torch.nn.functional.pixel_shuffle(states, factor)}
    wanted, _ = TORCH_LOSSES[config.term](settings)(given, None, theirs if factor > 1 else {})
    wanted.sum().backward()
    assert found.grad is not None
    np.testing.assert_allclose(values, wanted.detach().numpy(), rtol=CLOSE, atol=CLOSE)
    there = found.grad.numpy().transpose(0, 2, 3, 1)
    assert np.abs(there).max() > 1e-6
    np.testing.assert_allclose(gradient, there, rtol=CLOSE, atol=CLOSE * np.abs(there).max())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    made = {"alexnet": random_alexnet(), "vgg16": random_vgg16()}
    paths = {name: write_lpips(tmp_path_factory.mktemp(name), states) for name, states in made.items()}
    # One that pictures are too large for, and one that they are too small for.
    paths |= {f"clip {grid}": write_clip(tmp_path_factory.mktemp("clip"), random_clip(grid=grid)) for grid in (3, 5)}
    return {name: str(path) for name, path in paths.items()}


@pytest.mark.parametrize(
    ("network", "settings", "factor"),
    [
        ("alexnet", {"weighting": "uniform"}, 1),
        ("vgg16", {"weighting": "snr"}, 1),
        ("vgg16", {"largest_t": 400, "size": 40}, 1),
        ("vgg16", {"size": 31}, 2),
    ],
)
def test_lpips(files: dict[str, str], network: str, settings: dict[str, Any], factor: int) -> None:
    assert_same(LpipsConfig(file=files[network], **settings), factor=factor)


@pytest.mark.parametrize(
    ("grid", "settings", "factor"),
    [
        (3, {"weighting": "uniform"}, 1),
        (5, {"directional": 0.3}, 1),
        (3, {"directional": 1.0, "largest_t": 400}, 2),
    ],
)
def test_clip(files: dict[str, str], grid: int, settings: dict[str, Any], factor: int) -> None:
    assert_same(ClipConfig(file=files[f"clip {grid}"], **settings), factor=factor)


def test_a_direction_has_a_gradient_where_nothing_has_changed_yet(files: dict[str, str]) -> None:
    """x0_hat is the input picture, as an affine head begins."""
    config = ClipConfig(file=files["clip 3"], weighting="uniform", directional=1.0)
    frozen, cond, x0 = config.frozen(), jnp.asarray(pictures(2, SIDE, 3), jnp.float32), pictures(1, SIDE, 3)

    def value(output: jax.Array) -> tuple[jax.Array, jax.Array]:
        values, parts = config.create()(sample([output, x0, cond]), jax.random.key(0), {FROZEN: frozen})
        return jnp.sum(values), parts["clip_direction"]

    (found, parts), slope = jax.jit(jax.value_and_grad(value, has_aux=True))(cond)
    np.testing.assert_allclose(parts, 1.0, atol=1e-3)
    assert float(found) == pytest.approx(BATCH, abs=1e-3)
    assert np.isfinite(slope).all() and float(jnp.abs(slope).max()) > 1e-3


def test_features_that_are_all_zero_have_a_gradient_of_zero(files: dict[str, str]) -> None:
    """Black pictures in front of a network without biases."""
    config = LpipsConfig(file=files["alexnet"], weighting="uniform")
    frozen = {n: 0.0 * w if n.endswith("bias") else w for n, w in config.frozen().items()}
    grey = jnp.asarray([-0.030, -0.088, -0.188])[None, None, None, :] * jnp.ones((BATCH, SIDE, SIDE, 1))

    def value(output: jax.Array) -> jax.Array:
        given = sample([output, grey, grey])
        return jnp.sum(config.create()(given, jax.random.key(0), {FROZEN: frozen})[0])

    found, slope = jax.jit(jax.value_and_grad(value))(grey)
    assert float(found) == 0.0 and float(jnp.abs(slope).max()) == 0.0


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"weighting": "uniform"}, [1.0, 1.0, 1.0]),
        ({}, [0.99**2, 0.6**2, 0.05**2]),
        ({"largest_t": 400}, [0.99**2, 0.6**2, 0.0]),
        ({"largest_t": 4, "weighting": "uniform"}, [0.0, 0.0, 0.0]),
    ],
)
def test_how_much_a_picture_counts(settings: dict[str, Any], wanted: list[float]) -> None:
    given = sample([np.zeros((BATCH, 2, 2, 3))] * 3)
    np.testing.assert_allclose(noise_weight(LpipsConfig(**settings), given), wanted, rtol=1e-5)
    # A state without signal and noise, as one pass has, does not count by its ratio.
    empty = Levels(*(0.0 * level for level in given.levels))
    assert noise_weight(LpipsConfig(), given._replace(levels=empty)).tolist() == [0.0] * BATCH


def test_a_picture_that_does_not_count_may_be_anything(files: dict[str, str]) -> None:
    """x0_hat of an eps network at T-1 is noise times 64,000, or overflows."""
    config = LpipsConfig(file=files["alexnet"], largest_t=400)
    frozen, x0 = config.frozen(), jnp.asarray(pictures(1, SIDE, 3), jnp.float32)

    def value(output: jax.Array) -> jax.Array:
        x0_hat = output / jnp.asarray([1.0, 1.0, 0.0])[:, None, None, None]
        given = sample([x0_hat, x0, x0])
        return jnp.sum(config.create()(given, jax.random.key(0), {FROZEN: frozen})[0])

    found, slope = jax.jit(jax.value_and_grad(value))(x0 + 0.1)
    assert np.isfinite(found) and float(found) > 0.0
    assert np.isfinite(np.asarray(slope[:2])).all() and float(jnp.abs(slope[:2]).max()) > 0.0
