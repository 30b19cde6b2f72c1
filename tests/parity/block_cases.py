"""The building blocks of both networks, each as one case that runs in JAX and in torch.

The blocks are the networks' own: JAX's from `jax_impl.model`, torch's from
`torch_ref.blocks` or taken out of a narrow `SeedUNet`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F
from flax import nnx
from torch import Tensor, nn

from jax_impl.model import blocks as ours
from jax_impl.model import seed_unet
from tests.parity.case import Case, Size, call, function, pictures
from tests.parity.residual_cases import RESIDUAL_BLOCKS
from torch_ref import blocks as theirs
from torch_ref.seed_unet import SEED_MODULES, SeedUNet

TIMESTEPS = 1000


def _seed_width(size: Size) -> int:
    """Base width of a seed network whose first two levels have up to 8 channels."""
    return (size.channels + 1) // 2


def _within(part: str) -> dict[str, str]:
    """The seed network's table of module names, inside one of its parts."""
    dot = f"{part}."
    return {k.removeprefix(dot): v.removeprefix(dot) for k, v in SEED_MODULES.items() if k.startswith(dot)}


def _conv3x3(size: Size, stride: int) -> Case:
    return Case(
        lambda: ours.conv3x3(size.channels, size.out, nnx.Rngs(0), stride=stride),
        call,
        theirs.conv3x3(size.channels, size.out, stride),
        call,
        [pictures(size, size.channels)],
    )


def _conv1x1(size: Size) -> Case:
    return Case(
        lambda: ours.conv1x1(size.channels, size.out, nnx.Rngs(0)),
        call,
        nn.Conv2d(size.channels, size.out, 1),
        call,
        [pictures(size, size.channels)],
    )


def _conv_transpose(size: Size) -> Case:
    w = _seed_width(size)
    return Case(
        lambda: seed_unet.UpBlock(2 * w, w, w, nnx.Rngs(0)).up,
        call,
        SeedUNet(w).up3[0],
        call,
        [pictures(size, 2 * w)],
    )


def _batch_norm(size: Size, train: bool) -> Case:
    return Case(
        lambda: ours.BatchNorm(size.out),
        lambda norm, x: norm(x, train=train),
        SeedUNet(size.out).inc[1].train(train),
        call,
        [pictures(size, size.out)],
        deviation=0.1,
    )


def _linear(size: Size) -> Case:
    return Case(
        lambda: nnx.Linear(size.channels, size.out, rngs=nnx.Rngs(0)),
        call,
        nn.Linear(size.channels, size.out),
        call,
        [(size.batch, size.channels)],
    )


def _seed_time(size: Size) -> Case:
    """From the timestep to what the seed network's bottleneck adds; the only inputs are integers."""
    network, hidden = SeedUNet(size.out), seed_unet.TIME_CHANNELS
    t = np.linspace(0, TIMESTEPS - 1, 2 + size.batch).astype(np.int32)

    def make() -> nnx.Module:
        shapes = {"time_in": (1, hidden), "time_out": (hidden, hidden), "time_proj": (hidden, 8 * size.out)}
        return nnx.Dict({name: nnx.Linear(*shape, rngs=nnx.Rngs(0)) for name, shape in shapes.items()})

    def run(module: Any) -> jax.Array:
        time = jnp.asarray(t).astype(module.time_in.kernel.dtype)[:, None] / TIMESTEPS
        return nnx.silu(module.time_proj(module.time_out(nnx.silu(module.time_in(time)))))

    def run_torch(module: Any) -> Tensor:
        time = torch.from_numpy(t).to(module["time_mlp"][0].weight.dtype)[:, None] / TIMESTEPS
        return module["time_proj"](module["time_mlp"](time))

    module = nn.ModuleDict({"time_mlp": network.time_mlp, "time_proj": network.time_proj})
    return Case(make, run, module, run_torch, [], SEED_MODULES)


def _seed_block(size: Size, train: bool) -> Case:
    return Case(
        lambda: seed_unet.ConvBlock(6, size.out, nnx.Rngs(0)),
        lambda block, x: block(x, train=train),
        SeedUNet(size.out).inc.train(train),
        call,
        [pictures(size, 6)],
        _within("inc"),
    )


def _seed_up_block(size: Size, train: bool) -> Case:
    w = _seed_width(size)
    return Case(
        lambda: seed_unet.UpBlock(2 * w, w, w, nnx.Rngs(0)),
        lambda block, x, skip: block(x, skip, train=train),
        SeedUNet(w).up3.train(train),
        lambda up, x, skip: up[1:](torch.cat([up[0](x), skip], dim=1)),
        [pictures(size, 2 * w), (size.batch, 2 * size.height, 2 * size.width, w)],
        _within("up3"),
    )


def _max_pool(size: Size) -> Case:
    return function(pictures(size, size.channels), seed_unet._max_pool, SeedUNet(1).down1[0], exact=True)


BLOCKS: dict[str, Callable[[Size], Case]] = {
    "conv 3×3": lambda size: _conv3x3(size, 1),
    "conv 3×3, stride 2": lambda size: _conv3x3(size, 2),
    "conv 1×1": _conv1x1,
    "transposed conv 2×2, stride 2": _conv_transpose,
    "BatchNorm, training": lambda size: _batch_norm(size, train=True),
    "BatchNorm, evaluation": lambda size: _batch_norm(size, train=False),
    "linear": _linear,
    "seed time MLP": _seed_time,
    "seed block, training": lambda size: _seed_block(size, train=True),
    "seed block, evaluation": lambda size: _seed_block(size, train=False),
    "seed up block, training": lambda size: _seed_up_block(size, train=True),
    "seed up block, evaluation": lambda size: _seed_up_block(size, train=False),
    "max pool 2×2": _max_pool,
    **RESIDUAL_BLOCKS,
    "SiLU": lambda size: function(pictures(size, size.channels), nnx.silu, F.silu),
    "ReLU": lambda size: function(pictures(size, size.channels), nnx.relu, F.relu, exact=True),
}
"""Every block by its name in the table."""
