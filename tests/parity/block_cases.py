"""The building blocks of both networks, each as one case that runs in JAX and in torch.

The blocks are the networks' own: JAX's from `jax_impl.model`, torch's from
`torch_ref.blocks` or taken out of a narrow `SeedUNet`. There is no attention in either
network, hence none here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F
from flax import nnx
from torch import Tensor, nn

from jax_impl.model import blocks as ours
from jax_impl.model import seed_unet, unet
from torch_ref import blocks as theirs
from torch_ref import unet as torch_unet
from torch_ref.seed_unet import SeedUNet
from torch_ref.weights import SEED_MODULES

TIMESTEPS = 1000
LONGEST = 17
"""Largest side of a picture, in pixels."""


@dataclass(frozen=True)
class Size:
    """One example; every block takes from it what it needs."""

    batch: int
    height: int
    width: int
    channels: int
    """From 1 to 8, like `out`."""
    out: int
    groups: int
    """A wish: the blocks take its greatest common divisor with their channels."""
    patch: int


@dataclass(frozen=True)
class Case:
    """One block at one size, on both sides."""

    make: Callable[[], nnx.Module] | None
    """JAX's module, None where the block is a function without weights."""
    run: Callable[..., jax.Array]
    """run(module, *inputs) in JAX; channels last."""
    module: nn.Module
    """torch's module, nn.Identity() where the block is a function."""
    run_torch: Callable[..., Tensor]
    """run_torch(module, *inputs); channels first."""
    inputs: Sequence[tuple[int, ...]]
    """Shapes of the inputs, channels last."""
    names: Mapping[str, str] = field(default_factory=dict)
    """torch's module names to JAX's, where they differ."""
    deviation: float = 1.0
    """Of the inputs. A norm's epsilon shows where its input is small."""
    exact: bool = False
    """Values are only moved or chosen, so that no rounding excuses a difference."""


def _call(module: Any, *inputs: Any) -> Any:
    return module(*inputs)


def _pictures(size: Size, channels: int) -> tuple[int, ...]:
    return (size.batch, size.height, size.width, channels)


def _patches(size: Size) -> tuple[int, int]:
    """Rows and columns of patches, at least one, on a picture that is not too large."""
    most = LONGEST // size.patch
    return min(most, size.height), min(most, size.width)


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
        _call,
        theirs.conv3x3(size.channels, size.out, stride),
        _call,
        [_pictures(size, size.channels)],
    )


def _conv1x1(size: Size) -> Case:
    return Case(
        lambda: ours.conv1x1(size.channels, size.out, nnx.Rngs(0)),
        _call,
        nn.Conv2d(size.channels, size.out, 1),
        _call,
        [_pictures(size, size.channels)],
    )


def _conv_transpose(size: Size) -> Case:
    w = _seed_width(size)
    return Case(
        lambda: seed_unet.UpBlock(2 * w, w, w, nnx.Rngs(0)).up,
        _call,
        SeedUNet(w).up3[0],
        _call,
        [_pictures(size, 2 * w)],
    )


def _batch_norm(size: Size, train: bool) -> Case:
    return Case(
        lambda: ours.BatchNorm(size.out),
        lambda norm, x: norm(x, train=train),
        SeedUNet(size.out).inc[1].train(train),
        _call,
        [_pictures(size, size.out)],
        deviation=0.1,
    )


def _group_norm(size: Size) -> Case:
    groups = math.gcd(size.groups, size.channels)
    return Case(
        lambda: ours.group_norm(size.channels, groups, nnx.Rngs(0)),
        _call,
        theirs.ResBlock(size.channels, size.channels, 1, groups).norm1,
        _call,
        [_pictures(size, size.channels)],
        deviation=0.1,
    )


def _linear(size: Size) -> Case:
    return Case(
        lambda: nnx.Linear(size.channels, size.out, rngs=nnx.Rngs(0)),
        _call,
        nn.Linear(size.channels, size.out),
        _call,
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


def _res_block(size: Size, skip: bool) -> Case:
    out = size.out % 8 + 1 if skip and size.out == size.channels else size.out
    channels, emb = size.channels if skip else out, 5
    groups = math.gcd(size.groups, channels, out)
    return Case(
        lambda: ours.ResBlock(channels, out, emb, groups, nnx.Rngs(0)),
        _call,
        theirs.ResBlock(channels, out, emb, groups),
        _call,
        [_pictures(size, channels), (size.batch, emb)],
    )


def _seed_block(size: Size, train: bool) -> Case:
    return Case(
        lambda: seed_unet.ConvBlock(6, size.out, nnx.Rngs(0)),
        lambda block, x: block(x, train=train),
        SeedUNet(size.out).inc.train(train),
        _call,
        [_pictures(size, 6)],
        _within("inc"),
    )


def _seed_up_block(size: Size, train: bool) -> Case:
    w = _seed_width(size)
    return Case(
        lambda: seed_unet.UpBlock(2 * w, w, w, nnx.Rngs(0)),
        lambda block, x, skip: block(x, skip, train=train),
        SeedUNet(w).up3.train(train),
        lambda up, x, skip: up[1:](torch.cat([up[0](x), skip], dim=1)),
        [_pictures(size, 2 * w), (size.batch, 2 * size.height, 2 * size.width, w)],
        _within("up3"),
    )


def _function(shape: tuple[int, ...], run: Callable, run_torch: Callable, exact: bool = False) -> Case:
    return Case(None, lambda _, x: run(x), nn.Identity(), lambda _, x: run_torch(x), [shape], exact=exact)


def _space_to_depth(size: Size) -> Case:
    (rows, columns), p = _patches(size), size.patch
    shape = (size.batch, rows * p, columns * p, 3)
    return _function(shape, lambda x: ours.space_to_depth(x, p), nn.PixelUnshuffle(p), exact=True)


def _depth_to_space(size: Size) -> Case:
    (rows, columns), p = _patches(size), size.patch
    shape = (size.batch, rows, columns, 3 * p * p)
    return _function(shape, lambda x: ours.depth_to_space(x, p), nn.PixelShuffle(p), exact=True)


def _recolour(size: Size) -> Case:
    (rows, columns), p = _patches(size), size.patch
    pictures = (size.batch, rows * p, columns * p, 3)
    return Case(
        None,
        lambda _, weights, x_t, cond: unet.recolour(weights, x_t, cond, p),
        nn.Identity(),
        lambda _, weights, x_t, cond: torch_unet.recolour(weights, x_t, cond, p),
        [(size.batch, rows, columns, 3 * unet.AFFINE_TERMS), pictures, pictures],
        deviation=0.5,  # the output is a sum of products of inputs
    )


def _upsample(size: Size) -> Case:
    nearest = nn.Upsample(scale_factor=2.0, mode="nearest")
    return _function(_pictures(size, size.channels), ours.upsample_nearest, nearest)


def _max_pool(size: Size) -> Case:
    return _function(_pictures(size, size.channels), seed_unet._max_pool, SeedUNet(1).down1[0], exact=True)


BLOCKS: dict[str, Callable[[Size], Case]] = {
    "conv 3×3": lambda size: _conv3x3(size, 1),
    "conv 3×3, stride 2": lambda size: _conv3x3(size, 2),
    "conv 1×1": _conv1x1,
    "transposed conv 2×2, stride 2": _conv_transpose,
    "BatchNorm, training": lambda size: _batch_norm(size, train=True),
    "BatchNorm, evaluation": lambda size: _batch_norm(size, train=False),
    "GroupNorm": _group_norm,
    "linear": _linear,
    "seed time MLP": _seed_time,
    "residual block": lambda size: _res_block(size, skip=False),
    "residual block with skip convolution": lambda size: _res_block(size, skip=True),
    "seed block, training": lambda size: _seed_block(size, train=True),
    "seed block, evaluation": lambda size: _seed_block(size, train=False),
    "seed up block, training": lambda size: _seed_up_block(size, train=True),
    "seed up block, evaluation": lambda size: _seed_up_block(size, train=False),
    "max pool 2×2": _max_pool,
    "nearest upsampling": _upsample,
    "space to depth": _space_to_depth,
    "depth to space": _depth_to_space,
    "affine head, bilinear": _recolour,
    "SiLU": lambda size: _function(_pictures(size, size.channels), nnx.silu, F.silu),
    "ReLU": lambda size: _function(_pictures(size, size.channels), nnx.relu, F.relu, exact=True),
}
"""Every block by its name in the table."""
