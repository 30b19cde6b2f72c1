"""Compiled functions of a problem whose loss terms have frozen weights.

The weights are an argument of the program: as constants they would be in its text, and once more in each program.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from export.edge.disk.files import weights_digest
from jax_impl.config.tree import Config
from jax_impl.diffusion.losses.registry import Losses
from jax_impl.training.mesh import put, replicated, single_device


def digests_of(config: Config) -> list[str]:
    """The digest of each loss term's frozen weights, 64 hexadecimal digits, in the order of stages and terms."""
    trees = [tree for stage in config.stages for tree in Losses(stage.terms(config)).frozen() if tree]
    return [weights_digest({name: np.asarray(leaf) for name, leaf in tree.items()}) for tree in trees]


def jitted(problem: Any, function: Callable[..., Any], mesh: Mesh | None = None, *, consumes: bool = False) -> Any:
    """`jax.jit` of `function(problem, *args)` as a function of args; with `consumes`, the first of them is donated.

    problem: an `objective.Problem`. The frozen weights lie on every device of the mesh, by default on one. Where there
    are none, it is a plain jitted function.
    """
    frozen = problem.losses.frozen()
    if not any(frozen):
        return jax.jit(partial(function, problem), donate_argnums=0 if consumes else ())
    whole = replicated(mesh or single_device())

    def with_frozen(frozen: Any, *args: Any) -> Any:
        return function(problem._replace(frozen=frozen), *args)

    made = jax.jit(with_frozen, donate_argnums=1 if consumes else ())
    return Given(made, jax.tree.map(lambda leaf: put(leaf, whole), frozen))


class Given:
    """A jitted function, or what becomes of it, whose first argument is fixed; used like one of the others alone."""

    def __init__(self, made: Any, first: Any) -> None:
        self._made, self._first = made, first

    def __call__(self, *args: Any) -> Any:
        """The function of the first argument and these."""
        return self._made(self._first, *args)

    def lower(self, *args: Any) -> Given:
        """Lowered for the first argument and these."""
        return Given(self._made.lower(self._first, *args), self._first)

    def compile(self) -> Given:
        """Compiled, once it is lowered."""
        return Given(self._made.compile(), self._first)

    def __getattr__(self, name: str) -> Any:
        """What else a lowered or compiled function can tell, such as `memory_analysis`."""
        return getattr(self._made, name)
