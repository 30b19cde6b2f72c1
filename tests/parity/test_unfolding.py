"""Heads without lattice and grain: the same in JAX and torch, and what each promises."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from export.edge.errors import UserError
from jax_impl.config.as_json import to_json
from jax_impl.config.data import DataConfig
from jax_impl.config.tree import Config
from jax_impl.model.network import build
from jax_impl.model.unet import UNetModelConfig
from jax_impl.model.unfolding import output_conv, unfold
from tests.parity.network import inputs
from tests.parity.subject import to_nhwc, to_torch, with_weights
from torch_ref.weights import build_model, to_jax

SMALL = {"width": 4, "groups": 2, "multipliers": (1,), "blocks": 1, "patch": 4}
HEADS = {
    "blocks": UNetModelConfig(**SMALL, refine=2, refine_width=5),
    "bilinear": UNetModelConfig(**SMALL, refine=1, refine_width=3, unfold="bilinear", head="affine_cond"),
    "recolour": UNetModelConfig(**SMALL, head="affine_cond"),
    "bilateral": UNetModelConfig(**SMALL, head="bilateral"),
}


def config(model: UNetModelConfig) -> Config:
    return Config(data=DataConfig(size=16), model=model)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-10)])
def test_the_same_output_and_gradient_as_torch(name: str, dtype: str, tolerance: float) -> None:
    settings = config(HEADS[name])
    tree = json.loads(to_json(settings))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model(tree).to(getattr(torch, dtype))
    x_t, cond, t = inputs((2, 16, 8), settings.diffusion.timesteps, seed=1)
    x_t, cond = x_t.astype(dtype), cond.astype(dtype)
    theirs = to_torch(cond).requires_grad_()
    wanted = model(to_torch(x_t), theirs, torch.from_numpy(t))
    wanted.square().sum().backward()
    assert theirs.grad is not None
    with jax.enable_x64(dtype == "float64"):
        network, params, stats = with_weights(settings, to_jax(model.state_dict(), tree))

        @jax.jit
        def run(params: dict, cond: jax.Array) -> tuple:
            def total(cond: jax.Array) -> tuple[jax.Array, jax.Array]:
                output, _ = network.apply(params, stats, jnp.asarray(x_t), cond, jnp.asarray(t, jnp.int32))
                return jnp.sum(jnp.square(output)), output

            (_, output), slope = jax.value_and_grad(total, has_aux=True)(cond)
            return output, slope

        output, slope = map(np.asarray, run(params, jnp.asarray(cond)))
    assert output.dtype == dtype
    np.testing.assert_allclose(output, to_nhwc(wanted), atol=tolerance)
    there = to_nhwc(theirs.grad)
    assert np.linalg.norm(slope - there) < 10 * tolerance * np.linalg.norm(there)


@pytest.mark.parametrize("name", HEADS)
def test_it_starts_as_a_copy_of_the_input(name: str) -> None:
    network, params, stats = build(config(HEADS[name]), jax.random.key(0))
    x_t, cond = jax.random.normal(jax.random.key(1), (2, 1, 8, 8, 3))
    output, _ = network.apply(params, stats, x_t, cond, jnp.asarray([999]))
    np.testing.assert_array_equal(output, cond)


@pytest.mark.parametrize("smooth", [False, True])
def test_equal_features_unfold_without_a_lattice(smooth: bool) -> None:
    """At the start, every pixel of a block says the same."""
    conv = output_conv((3, 2), 4, smooth, nnx.Rngs(0), zero=False)
    blocks = unfold(conv(jax.random.normal(jax.random.key(0), (1, 3, 3, 3))), 4, smooth)
    assert blocks.shape == (1, 12, 12, 2)
    inside = blocks[:, 4:8, 4:8]
    spread = float(jnp.max(jnp.abs(inside - inside[:, :1, :1])))
    assert spread > 0.0 if smooth else spread == 0.0


def test_no_start_noise_passes_the_head_that_sees_the_input_alone() -> None:
    """With everything before the head cut off: its coefficients are constants."""
    for head, passes in (("affine", True), ("affine_cond", False)):
        network, params, stats = build(config(UNetModelConfig(**SMALL, head=head)), jax.random.key(0))
        params["affine_out"]["bias"] = jnp.full_like(params["affine_out"]["bias"], 0.5)
        noise = jax.random.normal(jax.random.key(1), (2, 1, 8, 8, 3))
        cond, t = jnp.zeros((1, 8, 8, 3)), jnp.asarray([999])
        one, other = (network.apply(params, stats, x_t, cond, t)[0] for x_t in noise)
        assert bool(jnp.any(one != other)) == passes


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"refine": 9}, "model.refine is 9"),
        ({"refine": 1, "refine_width": 0}, "model.refine_width is 0"),
        ({"unfold": "bilinear"}, "model.unfold is 'bilinear': it needs model.refine above 0"),
    ],
)
def test_what_is_refused(settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        UNetModelConfig(**settings)
