"""LPIPS at the real sizes, as shapes alone; its values have their test beside torch, in tests/parity."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import pytest

from jax_impl.perceptual.lpips import ALEXNET, VGG16, Backbone, backbone_of, lpips
from tests.torch_ref.perceptual_networks import random_vgg16
from torch_ref import lpips as tables


@pytest.mark.parametrize(
    ("network", "table", "widths", "parameters"),
    [
        (ALEXNET, tables.ALEXNET, (64, 192, 384, 256, 256), 2_469_696),
        (VGG16, tables.VGG16, (64, 128, 256, 512, 512), 14_714_688),
    ],
    ids=["AlexNet", "VGG16"],
)
def test_it_takes_the_networks_of_torchvision(
    network: Backbone, table: dict, widths: tuple[int, ...], parameters: int
) -> None:
    """`parameters`: of `torchvision.models`' `features`, as its documentation and many others count them."""
    sizes = dict(zip(tables.COMPARED, widths, strict=True))
    weights = {
        name: jax.ShapeDtypeStruct([n if isinstance(n, int) else sizes[n[0]] for n in shape], jnp.float32)
        for name, shape in tables.backbone(table).shapes.items()
    }
    assert sum(math.prod(leaf.shape) for leaf in weights.values()) == parameters
    weights |= {f"lin{i}": jax.ShapeDtypeStruct((width,), jnp.float32) for i, width in enumerate(widths)}
    assert backbone_of(weights) is network
    pictures = [jax.ShapeDtypeStruct((2, network.smallest, network.smallest, 3), jnp.float32)] * 2
    assert jax.eval_shape(lpips, weights, *pictures).shape == (2,)


def test_features_may_be_computed_in_bfloat16() -> None:
    net, lin = random_vgg16()
    weights = {name: jnp.asarray(held.numpy()) for name, held in net.items()}
    weights |= {name.partition(".")[0]: jnp.asarray(held.numpy().reshape(-1)) for name, held in lin.items()}
    a, b = jax.random.uniform(jax.random.key(0), (2, 1, 16, 16, 3), minval=-1.0)
    rough, exact = lpips(weights, a, b, jnp.bfloat16), lpips(weights, a, b)
    assert rough.dtype == exact.dtype == jnp.float32
    assert 1e-6 < abs(float(rough[0] / exact[0]) - 1.0) < 0.1
