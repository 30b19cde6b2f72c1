"""The building blocks of the residual family as cases, from `jax_impl.model` and from `torch_ref`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch.nn.functional as F
from flax import nnx
from torch import nn

from jax_impl.model import attention, recolour
from jax_impl.model import blocks as ours
from tests.parity.case import LONGEST, Case, Size, call, function, pictures
from torch_ref import attention as torch_attention
from torch_ref import blocks as theirs
from torch_ref import unet as torch_unet


def _patches(size: Size) -> tuple[int, int]:
    """Rows and columns of patches, at least one, on a picture that is not too large."""
    most = LONGEST // size.patch
    return min(most, size.height), min(most, size.width)


def _group_norm(size: Size) -> Case:
    groups = math.gcd(size.groups, size.channels)
    return Case(
        lambda: ours.GroupNorm(size.channels, groups, nnx.Rngs(0)),
        call,
        theirs.ResBlock(size.channels, size.channels, 1, groups).norm1,
        call,
        [pictures(size, size.channels)],
        deviation=0.1,
    )


def _res_block(size: Size, skip: bool, modulation: Literal["scale_shift", "add"] = "scale_shift") -> Case:
    out = size.out % 8 + 1 if skip and size.out == size.channels else size.out
    channels, emb = size.channels if skip else out, 5
    groups = math.gcd(size.groups, channels, out)
    return Case(
        lambda: ours.ResBlock((channels, out), emb, groups, nnx.Rngs(0), modulation=modulation),
        call,
        theirs.ResBlock(channels, out, emb, groups, modulation),
        call,
        [pictures(size, channels), (size.batch, emb)],
    )


def _attention(size: Size, cross: bool) -> Case:
    channels, groups = size.channels, math.gcd(size.groups, size.channels)
    head, context = math.gcd(channels, size.patch), size.out if cross else None
    # The context's positions are not those of the picture, neither in number nor in shape.
    inputs = [pictures(size, channels), *([(size.batch, 2, 3, size.out)] if cross else [])]
    return Case(
        lambda: attention.Attention(channels, head, groups, nnx.Rngs(0), context_channels=context),
        call,
        torch_attention.Attention(channels, head, groups, context),
        call,
        inputs,
    )


def _cond_encoder(size: Size) -> Case:
    channels, groups = [size.channels, size.out], math.gcd(size.groups, size.channels, size.out)
    # At least 4 × 4 patches, of which 2 × 2 features are left: a norm of fewer values has hardly a gradient.
    sides = (2 * max(side // 2, 4) for side in (size.height, size.width))
    return Case(
        lambda: attention.CondEncoder(channels, 2, groups, nnx.Rngs(0)),
        call,
        torch_attention.CondEncoder(channels, 2, groups),
        call,
        [(size.batch, *sides, 3)],
    )


def _space_to_depth(size: Size) -> Case:
    (rows, columns), p = _patches(size), size.patch
    shape = (size.batch, rows * p, columns * p, 3)
    return function(shape, lambda x: ours.space_to_depth(x, p), nn.PixelUnshuffle(p), exact=True)


def _depth_to_space(size: Size) -> Case:
    (rows, columns), p = _patches(size), size.patch
    shape = (size.batch, rows, columns, 3 * p * p)
    return function(shape, lambda x: ours.depth_to_space(x, p), nn.PixelShuffle(p), exact=True)


def _recolour(size: Size, head: recolour.Head) -> Case:
    (rows, columns), p = _patches(size), size.patch
    picture = (size.batch, rows * p, columns * p, 3)
    return Case(
        None,
        # What comes last is cond; `affine` alone looks at x_t too.
        lambda _, weights, *both: recolour.recolour(head, weights, both[0], both[-1], p),
        nn.Identity(),
        lambda _, weights, *both: torch_unet.recolour(head, weights, both[0], both[-1], p),
        [(size.batch, rows, columns, recolour.head_weights(head, 3)), *[picture] * (2 if head == "affine" else 1)],
        deviation=0.5,  # the output is a sum of products of inputs
    )


def _upsample(size: Size) -> Case:
    return function(pictures(size, size.channels), ours.upsample_nearest, lambda x: torch_unet.enlarge(x, False))


def _upsample_bilinear(size: Size) -> Case:
    return function(pictures(size, size.channels), ours.upsample_bilinear, lambda x: torch_unet.enlarge(x, True))


def _average_pool(size: Size) -> Case:
    return function(pictures(size, size.channels), ours.average_pool, lambda x: F.avg_pool2d(x, 2))


RESIDUAL_BLOCKS: dict[str, Callable[[Size], Case]] = {
    "GroupNorm": _group_norm,
    "residual block": lambda size: _res_block(size, skip=False),
    "residual block with skip convolution": lambda size: _res_block(size, skip=True),
    "residual block, time added": lambda size: _res_block(size, skip=False, modulation="add"),
    "self-attention": lambda size: _attention(size, cross=False),
    "attention to a context too": lambda size: _attention(size, cross=True),
    "encoder of cond": _cond_encoder,
    "nearest upsampling": _upsample,
    "bilinear upsampling": _upsample_bilinear,
    "average pool 2×2": _average_pool,
    "space to depth": _space_to_depth,
    "depth to space": _depth_to_space,
    "affine head, bilinear": lambda size: _recolour(size, "affine"),
    "bilateral head": lambda size: _recolour(size, "bilateral"),
}
"""Every block of the family by its name in the table."""
