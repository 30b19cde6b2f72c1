"""Lets exports of tests share the graphs that torch makes of their networks."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import onnx
import pytest
import torch

from export import denoiser_graph


@contextlib.contextmanager
def shared_graphs(once: Callable[..., Path]) -> Iterator[None]:
    """Let torch's exporter, which takes seconds for the smallest network, see no module twice."""
    trace = denoiser_graph.trace

    def kept(
        module: torch.nn.Module, examples: Mapping[str, torch.Tensor], output: str, multiple: int
    ) -> onnx.ModelProto:
        seen = hashlib.sha256(repr((module, output, multiple, [(n, e.shape) for n, e in examples.items()])).encode())
        for name, part in module.named_modules():
            plain = {k: v for k, v in vars(part).items() if isinstance(v, str | int | float | tuple | None)}
            seen.update(repr((name, sorted(plain.items()))).encode())
        for name, value in module.state_dict().items():
            seen.update(name.encode() + value.numpy().tobytes())
        folder = once(
            f"trace_{seen.hexdigest()}", lambda new: onnx.save(trace(module, examples, output, multiple), new / "graph")
        )
        return onnx.load(folder / "graph")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(denoiser_graph, "trace", kept)
        yield
