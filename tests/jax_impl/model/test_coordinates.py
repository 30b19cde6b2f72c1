"""Coordinates in JAX, numpy and torch, beside the grid that torch samples pictures on."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from export.edge.sampling import coordinates as edge
from jax_impl.model.coordinates import with_coordinates
from torch_ref.unet import with_coordinates as in_torch


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (4, 6), (16, 9), (3, 640)])
def test_three_implementations_agree(height: int, width: int, dtype: str) -> None:
    cond = np.random.default_rng(0).uniform(-1, 1, (2, height, width, 3)).astype(dtype)
    # Width comes first there; align_corners=False puts -1 and 1 at the picture's edges, not at its outer pixels.
    grid = F.affine_grid(torch.eye(2, 3, dtype=torch.float64).expand(2, 2, 3), [2, 3, height, width], False)
    wanted = np.concatenate([cond, grid.numpy()[..., ::-1]], axis=-1)
    with jax.enable_x64(dtype == "float64"):
        in_jax = np.asarray(with_coordinates(jnp.asarray(cond)))
    tensor = torch.from_numpy(cond).permute(0, 3, 1, 2)
    for found in (in_jax, edge.with_coordinates(cond), in_torch(tensor).permute(0, 2, 3, 1).numpy()):
        assert found.dtype == dtype
        np.testing.assert_allclose(found, wanted, rtol=0, atol=4 * np.finfo(dtype).eps)


def test_a_part_of_a_picture_keeps_the_place_it_comes_with() -> None:
    cond = np.random.default_rng(0).uniform(-1, 1, (2, 4, 4, 5))
    assert edge.with_coordinates(cond) is cond
    np.testing.assert_array_equal(with_coordinates(jnp.asarray(cond)), jnp.asarray(cond))
    tensor = torch.from_numpy(cond).permute(0, 3, 1, 2)
    assert in_torch(tensor) is tensor
