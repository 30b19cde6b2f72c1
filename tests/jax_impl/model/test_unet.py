"""The options of the residual family: what each changes, and that none changes what older settings mean."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_impl.config.as_json import from_json
from jax_impl.config.data import DataConfig
from jax_impl.config.presets import PRESETS
from jax_impl.config.tree import Config
from jax_impl.model.blocks import dropout
from jax_impl.model.network import Network, build, flatten, outline
from jax_impl.model.unet import UNetModelConfig
from tests.compiling import QUICK_TO_COMPILE

PLAIN = UNetModelConfig(width=8, groups=4, multipliers=(1,), blocks=1, head="plain")
ATTENTIVE = replace(PLAIN, head="affine", attention_levels=(0,), head_channels=8, cross_attention=True)
OTHER = replace(
    ATTENTIVE, multipliers=(1, 2), resample="fixed", time_modulation="add", attention_levels=(1,), coordinates=True
)
quick = partial(jax.jit, compiler_options=QUICK_TO_COMPILE)


def config(model: UNetModelConfig) -> Config:
    return Config(data=DataConfig(size=16), model=model)


def network_of(model: UNetModelConfig) -> Network:
    return outline(config(model))[0]


def weights(model: UNetModelConfig) -> Any:
    """Weights with nothing left at zero."""
    rng = np.random.default_rng(3)

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        return rng.normal(size=shape, scale=1 / np.sqrt(np.prod(shape[:-1]) if len(shape) > 1 else 10.0))

    return jax.tree.map(lambda leaf: jnp.asarray(draw(leaf.shape), leaf.dtype), outline(config(model))[1])


def inputs() -> tuple[jax.Array, jax.Array, jax.Array]:
    x_t, cond = jax.random.normal(jax.random.key(1), (2, 2, 8, 12, 3))
    return x_t, cond, jnp.asarray([100, 700])


def relative(found: Any, wanted: Any) -> float:
    """Norm of the whole difference over the reference's."""
    found, wanted = (
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]).astype(np.float64)
        for tree in (found, wanted)
    )
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def loss(network: Network, params: Any, key: jax.Array | None = None) -> jax.Array:
    return jnp.mean(jnp.square(network.apply(params, {}, *inputs(), train=True, key=key)[0] - 1.0))


@pytest.mark.parametrize("model", [ATTENTIVE, replace(OTHER, head="plain")])
def test_a_fresh_network_says_nothing_or_copies_cond(model: UNetModelConfig) -> None:
    network, params = network_of(model), quick(lambda key: build(config(model), key)[1])(jax.random.key(0))
    x_t, cond, t = inputs()
    output = quick(lambda params: network.apply(params, {}, x_t, cond, t)[0])(params)
    np.testing.assert_array_equal(output, cond if model.head == "affine" else jnp.zeros_like(x_t))
    for name, leaf in flatten(params).items():
        if name.rpartition(".")[0].rpartition(".")[2] in ("conv2", "out", "conv_out", "affine_out"):
            assert not np.asarray(leaf).any(), name


def test_bfloat16_trains_float32_weights_and_draws_in_float32() -> None:
    network, params = network_of(replace(ATTENTIVE, compute_dtype="bfloat16")), weights(ATTENTIVE)
    assert network_of(ATTENTIVE).graph == network.graph  # after training, nothing is left of bfloat16
    in_training, drawn = (
        quick(lambda params, train=train: network.apply(params, {}, *inputs(), train=train)[0])(params)
        for train in (True, False)
    )
    assert in_training.dtype == jnp.float32
    assert 1e-5 < relative(in_training, drawn) < 2e-2
    value, grads = quick(jax.value_and_grad(lambda params: loss(network, params)))(params)
    assert value.dtype == jnp.float32
    for name, gradient in flatten(grads).items():
        assert gradient.dtype == jnp.float32, name
        assert np.isfinite(gradient).all(), name
    assert {leaf.dtype for leaf in jax.tree.leaves(outline(PRESETS["base"]())[1])} == {jnp.dtype("float32")}


def test_rematerialisation_keeps_less_and_changes_nothing() -> None:
    # Dropout too: what is drawn anew in the backward pass must be what was dropped.
    model, key = replace(ATTENTIVE, dropout=0.2), jax.random.key(5)
    params = weights(ATTENTIVE)
    found, kept = [], []
    for settings in ({}, {"remat": True, "remat_keeps": "products"}, {"remat": True}):
        network = network_of(replace(model, **settings))
        found.append(quick(jax.value_and_grad(lambda params, network=network: loss(network, params, key)))(params))
        residuals = jax.eval_shape(
            lambda params, network=network: jax.vjp(lambda params: loss(network, params, key), params)[1], params
        )
        kept.append(sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(residuals)))
    assert max(relative(each, found[0]) for each in found[1:]) < 1e-6
    # What the backward pass is handed, the weights included. XLA for CPUs computes nothing twice, whatever it is told.
    weight = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(params))
    everything, products, nothing = (each - weight for each in kept)
    assert nothing < 0.5 * everything
    assert 1.2 * nothing < products < 0.8 * everything, (nothing, products, everything)


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    x = jnp.ones((50, 40, 40, 2))
    dropped = np.asarray(dropout(x, 0.2, jax.random.key(0)))
    share = np.mean(dropped == 0.0)
    assert abs(share - 0.2) < 5 * np.sqrt(0.2 * 0.8 / x.size)
    np.testing.assert_allclose(dropped[dropped != 0], 1 / 0.8, rtol=1e-6)
    np.testing.assert_array_equal(dropout(x, 0.2, None), x)


def test_dropout_follows_its_key_and_is_for_training_alone() -> None:
    network, params = network_of(replace(ATTENTIVE, dropout=0.3)), weights(ATTENTIVE)
    train = quick(lambda key: network.apply(params, {}, *inputs(), train=True, key=key)[0])
    first, again, other = (train(jax.random.key(n)) for n in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3
    without = network_of(ATTENTIVE)
    drawn, wanted = (quick(lambda params, n=n: n.apply(params, {}, *inputs())[0])(params) for n in (network, without))
    np.testing.assert_array_equal(drawn, wanted)
    with pytest.raises(ValueError, match=r"dropout is 0\.3: training needs a key"):
        network.apply(params, {}, *inputs(), train=True)


def test_settings_from_before_the_options_mean_the_same_network() -> None:
    old = from_json(
        '{"model": {"architecture": "unet", "patch": 8, "width": 64, "multipliers": [1, 2], "blocks": 2, '
        '"groups": 8, "head": "affine"}}'
    )
    assert old.model == PRESETS["tiny"]().model
    block = {"norm1", "conv1", "time", "norm2", "conv2"}
    places = [f"{way}.{level}.blocks.{n}" for way in ("down", "up") for level in (0, 1) for n in (0, 1)]
    modules = {f"{place}.{part}" for place in (*places, "middle.0", "middle.1") for part in block}
    modules |= {f"{place}.skip" for place in ("down.1.blocks.0", "up.0.blocks.0", "up.1.blocks.0")}
    modules |= {"stem", "time_in", "time_out", "norm_out", "conv_out", "affine_out", "down.0.resample", "up.1.resample"}
    assert {name.rpartition(".")[0] for name in flatten(outline(old)[1])} == modules
