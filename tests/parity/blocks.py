"""Level a: every building block alone, in JAX and in torch, with the same weights, forward and backward."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from torch import Tensor

from jax_impl.model.blocks import sinusoidal_embedding
from jax_impl.model.network import flatten
from tests.compiling import QUICK_TO_COMPILE
from tests.parity.block_cases import BLOCKS, TIMESTEPS
from tests.parity.case import LONGEST, Case, Size
from tests.parity.ladder import Line, compare
from torch_ref.blocks import TimeEmbedding
from torch_ref.weights import LEAVES, TORCH_ONLY

DTYPES = ("float32", "float64")
TOLERANCES = {"float32": 1e-5, "float64": 1e-12}
STATISTICS = {"float32": 1e-6, "float64": 1e-13}
"""Tighter: one mean, of which a tenth is kept; the factor n / (n - 1) must stay visible."""
REASONS = {
    "float32": "float32 rounding, 6e-8 each, of sums of up to some hundred products of unit size",
    "float64": "float64 rounding of the same sums: more would be a mistake",
}
EXACT = (1e-17, "values are only moved or chosen: less than one rounding of float64")

Tree = dict[str, np.ndarray]
Quantities = dict[str, tuple[Tree, Tree]]
"""What is compared → (JAX's arrays, torch's), in JAX's names and layout."""


def blocks(*, examples: int = 8, seed: int = 0) -> Iterator[Line]:
    """Every block at `examples` random sizes (at least 1), in float32 and in float64."""
    rng = np.random.default_rng(seed)
    for name in BLOCKS:
        sizes = [random_size(rng) for _ in range(examples)]
        for dtype in DTYPES:
            yield from block(name, sizes, dtype, seed)
    for dtype in DTYPES:
        yield from embedding(dtype)


def random_size(rng: np.random.Generator) -> Size:
    """Up to 3 pictures of 2 to 17 pixels a side, with up to 8 channels."""
    batch, *sides = rng.integers((1, 2, 2), (4, LONGEST + 1, LONGEST + 1)).tolist()
    return Size(batch, *sides, *rng.integers(1, 9, 3).tolist(), patch=int(rng.choice([2, 4, 8])))


def block(name: str, sizes: Sequence[Size], dtype: str, seed: int) -> Iterator[Line]:
    """Lines of the block of that name (a key of BLOCKS): output, gradients, and running statistics where it has some.

    Gradients are vector-Jacobian products of one random cotangent with the inputs and
    all weights. A line takes the examples of all sizes together.
    """
    cases = [BLOCKS[name](size) for size in sizes]
    found = [both_sides(case, dtype, [seed, i]) for i, case in enumerate(cases)]
    if len(cases) > 1:
        where = f"{len(cases)} random sizes"
    else:
        where = ", ".join(" × ".join(map(str, shape)) for shape in cases[0].inputs) or f"{sizes[0].batch + 2} timesteps"
    for quantity in found[0]:
        ours, theirs = (_together(found, quantity, side) for side in (0, 1))
        tolerance, reason = STATISTICS[dtype] if quantity == "statistics" else TOLERANCES[dtype], REASONS[dtype]
        if cases[0].exact:
            tolerance, reason = EXACT
        yield compare(
            "a",
            f"{name}: {quantity}, {where}",
            ours,
            theirs,
            measure="relative" if quantity == "gradients" else "absolute",
            tolerance=tolerance,
            reason=reason,
        )


def _together(found: list[Quantities], quantity: str, side: int) -> Tree:
    """One side of a quantity from all examples, numbered."""
    return {f"{i}.{name}": array for i, parts in enumerate(found) for name, array in parts[quantity][side].items()}


def embedding(dtype: str) -> Iterator[Line]:
    """The sinusoidal embedding of every timestep, given in either kind of integer, computed in `dtype`."""
    half = 32
    for integers in ("int32", "int64"):
        t = np.arange(TIMESTEPS, dtype=integers)
        with jax.enable_x64(True):  # without which JAX has no int64
            ours = np.asarray(sinusoidal_embedding(jnp.asarray(t), 2 * half, jnp.dtype(dtype)))
        theirs = TimeEmbedding(half)(torch.from_numpy(t), getattr(torch, dtype)).numpy()
        yield compare(
            "a",
            f"sinusoidal time embedding: output, t 0 … {TIMESTEPS - 1} in {integers}, {2 * half} channels",
            ours,
            theirs,
            tolerance={"float32": 1e-6, "float64": 1e-12}[dtype],
            reason="angles of up to 999 are rounded alike; sine and cosine differ in their last digits",
        )


def both_sides(case: Case, dtype: str, seed: Any) -> Quantities:
    """Run the block on both sides with the same random weights, inputs and cotangent."""
    rng = np.random.default_rng(seed)
    module = case.module.to(getattr(torch, dtype))
    module.load_state_dict({name: _draw(name, value, rng) for name, value in module.state_dict().items()})
    weights = _to_jax(case, module.state_dict())
    inputs = [(case.deviation * (rng.normal(size=shape) + 0.5)).astype(dtype) for shape in case.inputs]

    tensors = [_channels_first(array).requires_grad_() for array in inputs]
    output = case.run_torch(module, *tensors)
    theirs = {"": _channels_last(output)}
    cotangent = rng.normal(size=theirs[""].shape).astype(dtype)
    output.backward(_channels_first(cotangent))
    their_gradients = _to_jax(case, {name: parameter.grad for name, parameter in module.named_parameters()})
    their_gradients |= {f"input {i}": _channels_last(tensor.grad) for i, tensor in enumerate(tensors)}

    with jax.enable_x64(dtype == "float64"):
        ours, stats, gradients = _in_jax(case, weights, inputs, cotangent)
    quantities = {"output": ({"": ours}, theirs), "gradients": (gradients, their_gradients)}
    if stats:
        after = _to_jax(case, module.state_dict())
        quantities["statistics"] = (stats, {name: after[name] for name in stats})
    return quantities


def _in_jax(
    case: Case, weights: Tree, inputs: list[np.ndarray], cotangent: np.ndarray
) -> tuple[np.ndarray, Tree, Tree]:
    """Output, running statistics after it, and gradients with respect to weights and inputs."""
    graph, parts = None, [{}, {}]
    if case.make is not None:
        # Shapes alone: initial weights would take longer to compile than the block, and are not wanted.
        graph, *states = nnx.split(nnx.eval_shape(case.make), nnx.Param, nnx.BatchStat)
        parts = [nnx.to_pure_dict(state) for state in states]
    names = sorted(name for part in parts for name in flatten(part))
    if names != sorted(weights):
        raise ValueError(f"JAX's block has the weights {names}, torch's {sorted(weights)}")
    params, stats = (
        jax.tree.unflatten(jax.tree.structure(part), [jnp.array(weights[name]) for name in flatten(part)])
        for part in parts
    )

    def forward(params: Any, inputs: list[jax.Array]) -> tuple[jax.Array, Any]:
        if graph is None:
            return case.run(None, *inputs), {}
        module = nnx.merge(graph, nnx.State(params), nnx.State(stats))
        return case.run(module, *inputs), nnx.to_pure_dict(nnx.state(module, nnx.BatchStat))

    def forward_and_backward(params: Any, inputs: list[jax.Array], cotangent: jax.Array) -> Any:
        output, pull_back, stats = jax.vjp(forward, params, inputs, has_aux=True)
        return output, stats, pull_back(cotangent)

    compiled = jax.jit(forward_and_backward, compiler_options=QUICK_TO_COMPILE)
    arrays = [jnp.array(array) for array in inputs]
    output, after, (of_weights, of_inputs) = compiled(params, arrays, jnp.array(cotangent))
    gradients = flatten(of_weights) | {f"input {i}": gradient for i, gradient in enumerate(of_inputs)}
    return np.asarray(output), *({k: np.asarray(v) for k, v in tree.items()} for tree in (flatten(after), gradients))


def _to_jax(case: Case, values: Mapping[str, Tensor | None]) -> Tree:
    """Copies of torch's weights, statistics or gradients, by the bundle's table: JAX's names and layout."""
    arrays = {}
    for name, value in values.items():
        owner, _, leaf = name.rpartition(".")
        if leaf == TORCH_ONLY or value is None:
            continue
        jax_leaf, axes = LEAVES[type(case.module.get_submodule(owner)), leaf]
        jax_name = f"{case.names.get(owner, owner)}.{jax_leaf}".removeprefix(".")
        arrays[jax_name] = value.detach().numpy().transpose(np.argsort(axes)).copy()
    return arrays


def _draw(name: str, like: Tensor, rng: np.random.Generator) -> Tensor:
    """Random weights that keep pictures at unit size; scales and variances from 0.5 to 1.5."""
    if not like.is_floating_point():
        return like
    if like.ndim > 1:
        values = rng.normal(size=like.shape) / math.sqrt(like[0].numel())
    elif name.rpartition(".")[2] in ("weight", "running_var"):
        values = rng.uniform(0.5, 1.5, like.shape)
    else:
        values = 0.1 * rng.normal(size=like.shape)
    return torch.from_numpy(values).to(like.dtype)


def _channels_first(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.moveaxis(array, -1, 1).copy())


def _channels_last(tensor: Tensor) -> np.ndarray:
    return np.moveaxis(tensor.detach().numpy(), 1, -1)
