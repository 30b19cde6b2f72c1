"""A building block as a case that runs in JAX and in torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
from flax import nnx
from torch import Tensor, nn

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


def call(module: Any, *inputs: Any) -> Any:
    return module(*inputs)


def pictures(size: Size, channels: int) -> tuple[int, ...]:
    return (size.batch, size.height, size.width, channels)


def function(shape: tuple[int, ...], run: Callable, run_torch: Callable, exact: bool = False) -> Case:
    """A block without weights, of one input."""
    return Case(None, lambda _, x: run(x), nn.Identity(), lambda _, x: run_torch(x), [shape], exact=exact)
