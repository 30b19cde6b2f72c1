"""Lets exports of tests share the graphs that torch makes of their networks."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch.nn.modules.batchnorm import _BatchNorm

from export import denoiser_graph
from tests.sharing.use import IN_USE

Weights = Mapping[str, np.ndarray]


@contextlib.contextmanager
def shared_graphs(once: Callable[..., Path]) -> Iterator[None]:
    """Let torch's exporter, which takes seconds for the smallest network, see no network twice.

    One with other weights has the same graph with these in it, unless the exporter computes with weights, as it does
    where BatchNorm is folded. Whoever exports compares the graph with torch, whatever is shared.
    """
    if IN_USE["graphs"]:
        yield
        return
    trace = denoiser_graph.trace

    def kept(
        module: torch.nn.Module, examples: Mapping[str, torch.Tensor], output: str, multiple: int
    ) -> onnx.ModelProto:
        weights = {name: value.numpy() for name, value in module.state_dict().items()}
        name = f"trace_{structure(module, examples, output, multiple)}"

        def make(folder: Path, traced: torch.nn.Module = module) -> None:
            onnx.save(trace(traced, examples, output, multiple), folder / "graph")

        def make_any(folder: Path) -> None:
            marked = with_marks(module)
            make(folder, marked)
            (folder / "places.json").write_text(json.dumps(places(onnx.load(folder / "graph"), marked)))

        if not IN_USE["exact"] and not any(isinstance(part, _BatchNorm) for part in module.modules()):
            folder = once(name, make_any)
            held = json.loads((folder / "places.json").read_text())
            if set(held.values()) == weights.keys():
                return filled(onnx.load(folder / "graph"), {place: weights[of] for place, of in held.items()})
        values = hashlib.sha256(b"".join(value.tobytes() for value in weights.values())).hexdigest()
        return onnx.load(once(f"{name}_{values}", make) / "graph")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(denoiser_graph, "trace", kept)
        patch.setitem(IN_USE, "graphs", True)
        yield


@contextlib.contextmanager
def exact_graphs() -> Iterator[None]:
    """Share a graph among the same weights alone, to the byte what the exporter makes of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(IN_USE, "exact", True)
        yield


def structure(module: torch.nn.Module, examples: Mapping[str, torch.Tensor], output: str, multiple: int) -> str:
    """A digest of all that decides the graph of a module but its weights."""
    seen = hashlib.sha256(repr((module, output, multiple, [(n, e.shape) for n, e in examples.items()])).encode())
    for name, part in module.named_modules():
        plain = {k: v for k, v in vars(part).items() if isinstance(v, str | int | float | tuple | None)}
        seen.update(repr((name, sorted(plain.items()))).encode())
    for name, value in module.state_dict().items():
        seen.update(repr((name, value.shape, value.dtype)).encode())
    return seen.hexdigest()


def with_marks(module: torch.nn.Module) -> torch.nn.Module:
    """A copy with random weights, no two of which are alike."""
    random, marked = np.random.default_rng(0), copy.deepcopy(module)
    values = {
        name: torch.from_numpy(random.uniform(0.5, 1.5, value.shape)).to(value.dtype)
        for name, value in marked.state_dict().items()
    }
    marked.load_state_dict(values)
    return marked


def places(graph: onnx.ModelProto, module: torch.nn.Module) -> dict[str, str]:
    """Where a graph holds the weights of a module, in whatever shape: names in the graph, and what stands there."""
    marks = {value.numpy().tobytes(): name for name, value in module.state_dict().items()}
    arrays = {tensor.name: numpy_helper.to_array(tensor).tobytes() for tensor in graph.graph.initializer}
    return {place: marks[array] for place, array in arrays.items() if array in marks}


def filled(graph: onnx.ModelProto, weights: Weights) -> onnx.ModelProto:
    """The graph with other weights, by their names in it."""
    for tensor in graph.graph.initializer:
        if tensor.name in weights:
            value = weights[tensor.name].reshape(tuple(tensor.dims))
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    return graph
