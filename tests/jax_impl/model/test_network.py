"""Networks at their functional border."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_impl.config.data import DataConfig
from jax_impl.config.presets import PRESETS
from jax_impl.config.tree import Config
from jax_impl.model.network import Network, build, count, flatten, outline
from jax_impl.model.registry import NetworkConfig
from jax_impl.model.seed_unet import SeedModelConfig
from jax_impl.model.unet import UNetModelConfig
from tests.drawing import drawn

NETWORKS = [
    SeedModelConfig(width=4),
    UNetModelConfig(width=8, groups=4, multipliers=(1, 2), blocks=1),
    UNetModelConfig(width=8, groups=2, multipliers=(1,), blocks=2, patch=4),
]


@cache
def built(model: NetworkConfig) -> tuple[Network, dict, dict]:
    """The network with some weights and statistics."""
    return drawn(Config(data=DataConfig(size=16), model=model))


def perturbed(tree: dict, scale: float = 0.1) -> dict:
    """Weights away from the zeros that outputs start with."""
    # By numpy: JAX would compile a program for every shape.
    random = np.random.default_rng(3)
    return jax.tree.map(lambda x: np.asarray(x) + np.float32(scale) * random.standard_normal(x.shape, np.float32), tree)


def test_seed_has_the_parameters_of_the_original() -> None:
    shapes = jax.eval_shape(lambda key: build(PRESETS["seed"](), key)[1:], jax.random.key(0))
    assert count(shapes[0]) == 12_625_923


@pytest.mark.parametrize("preset", PRESETS)
def test_the_readme_counts_the_parameters(preset: str, root: Path) -> None:
    parameters = count(outline(PRESETS[preset]())[1])
    first = re.compile(rf"\| (`\w+`, )*`{preset}`(, `\w+`)* \|")  # Two presets of one network share a row.
    (row,) = (line for line in (root / "README.md").read_text().splitlines() if first.match(line))
    assert f"| {parameters:,} |" in row
    assert preset != "base" or 25_000_000 < parameters < 60_000_000


@pytest.mark.parametrize("model", NETWORKS)
@pytest.mark.parametrize("size", [(16, 16), (16, 24), (8, 32)])
def test_output_has_the_shape_of_the_input(model: NetworkConfig, size: tuple[int, int]) -> None:
    network, params, stats = built(model)
    x, t = jnp.zeros((3, *size, 3)), jnp.asarray([0, 10, 999])
    output, after = jax.eval_shape(network.apply, params, stats, x, x, t)
    assert output.shape == x.shape
    assert jax.tree.structure(after) == jax.tree.structure(stats)


@pytest.mark.parametrize("model", NETWORKS)
def test_every_input_and_every_parameter_matters(model: NetworkConfig) -> None:
    network, params, stats = built(model)
    params = perturbed(params)
    x_t, cond = jax.random.normal(jax.random.key(1), (2, 2, 16, 16, 3))
    t = jnp.asarray([100, 700])

    @jax.jit
    def run(params: dict, x_t: jax.Array, cond: jax.Array, t: jax.Array) -> jax.Array:
        return network.apply(params, stats, x_t, cond, t)[0]

    base = run(params, x_t, cond, t)
    for changed in (run(params, x_t + 0.5, cond, t), run(params, x_t, cond + 0.5, t), run(params, x_t, cond, t + 90)):
        assert float(jnp.abs(changed - base).max()) > 1e-4
    grads = jax.jit(jax.grad(lambda p: jnp.sum(jnp.square(run(p, x_t, cond, t) - 1.0))))(params)
    silent = [name for name, g in flatten(grads).items() if np.abs(g).max() == 0.0]
    assert silent == []


def test_pictures_of_a_batch_do_not_mix_in_evaluation() -> None:
    for model in NETWORKS:
        network, params, stats = built(model)
        params = perturbed(params)
        x = jax.random.normal(jax.random.key(1), (3, 16, 16, 3))
        t = jnp.asarray([5, 500, 995])
        run = jax.jit(network.apply)
        together = run(params, stats, x, x[::-1], t)[0]
        alone = run(params, stats, x[1:2], x[1:2], t[1:2])[0]
        np.testing.assert_allclose(together[1:2], alone, atol=1e-4)


def test_batch_statistics_move_only_in_training() -> None:
    network, params, stats = built(NETWORKS[0])
    x = jax.random.normal(jax.random.key(1), (2, 16, 16, 3))
    t = jnp.asarray([1, 2])
    still, moved = (jax.jit(partial(network.apply, train=train))(params, stats, x, x, t)[1] for train in (False, True))
    for a, b, c in zip(*(jax.tree.leaves(tree) for tree in (stats, still, moved)), strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.abs(np.asarray(a) - c).max() > 0


def test_seed_trains_in_bfloat16_and_keeps_weights_statistics_and_drawing_in_float32() -> None:
    model = SeedModelConfig(width=8)
    plain, params, stats = built(model)
    half = outline(Config(data=DataConfig(size=16), model=replace(model, compute_dtype="bfloat16")))[0]
    assert half.graph == plain.graph  # after training, nothing is left of bfloat16
    params = perturbed(params)
    x_t, cond = jax.random.normal(jax.random.key(1), (2, 4, 16, 16, 3))
    t = jnp.asarray([10, 100, 700, 900])

    def loss(params: dict, network: Network) -> tuple[jax.Array, tuple]:
        output, moved = network.apply(params, stats, x_t, cond, t, train=True)
        return jnp.mean(jnp.square(output - 1.0)), (output, moved)

    found, wanted = (
        jax.jit(jax.value_and_grad(partial(loss, network=network), has_aux=True))(params) for network in (half, plain)
    )
    for got, want in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert got.dtype == want.dtype == jnp.float32
    (_, (output, moved)), _ = found
    (_, (wanted_output, wanted_moved)), _ = wanted
    assert 1e-4 < float(jnp.linalg.norm(output - wanted_output) / jnp.linalg.norm(wanted_output)) < 5e-2
    for got, want in zip(jax.tree.leaves(moved), jax.tree.leaves(wanted_moved), strict=True):
        np.testing.assert_allclose(got, want, atol=5e-3 * float(jnp.abs(want).max()) + 2e-3)


def test_tanh_bounds_the_output() -> None:
    network, params, stats = built(SeedModelConfig(width=4, output_activation="tanh"))
    x = 100 * jax.random.normal(jax.random.key(1), (2, 16, 16, 3))
    output = jax.jit(network.apply)(perturbed(params, 1.0), stats, x, x, jnp.asarray([1, 2]))[0]
    assert float(jnp.abs(output).max()) <= 1.0


def test_names_are_dotted_paths() -> None:
    names = flatten(built(NETWORKS[1])[1]).keys()
    assert {"stem.kernel", "down.0.blocks.0.conv1.kernel", "up.1.resample.bias", "middle.1.time.kernel"} <= names
