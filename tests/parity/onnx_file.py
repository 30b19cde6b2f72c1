"""Level g: the exported file in onnxruntime, with its graph optimisations off and on."""

from __future__ import annotations

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
import onnxruntime
import torch

from tests.parity.ladder import Line
from tests.parity.network import apply, forward_line, inputs, shapes
from tests.parity.subject import Subject, to_nhwc, to_torch

OPTIMISATIONS = {
    "no optimisation": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "all optimisations": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


def onnx_file(subject: Subject, *, size: int) -> Iterator[Line]:
    """Outputs of the file beside torch's at several sizes and batches, and beside JAX's where they all began."""
    for name, level in OPTIMISATIONS.items():
        session = _session(subject, level)
        for shape in [*shapes(size, subject.config.model.size_multiple), (2, size, size)]:
            channels = subject.config.model.cond_channels
            timesteps, states = subject.config.diffusion.timesteps, subject.config.codec.channels
            x_t, cond, t = inputs(shape, timesteps, sum(shape), channels, states)
            x_t, cond = x_t.astype(np.float32), cond.astype(np.float32)
            nchw = to_torch(x_t), to_torch(cond), torch.from_numpy(t)
            with torch.no_grad():
                theirs = to_nhwc(subject.bundle.model(*nchw))
            (found,) = session.run(None, dict(zip(("x_t", "cond", "t"), (a.numpy() for a in nchw), strict=True)))
            found = found.transpose(0, 2, 3, 1)
            arrays = jnp.asarray(x_t), jnp.asarray(cond), jnp.asarray(t)
            ours, _ = apply(subject.problem.network, subject.params, subject.stats, *arrays, train=False)
            for other, array in (("torch", theirs), ("JAX", np.asarray(ours))):
                what = f"forward, {name}, {shape[0]} × {shape[1]} × {shape[2]}"
                yield forward_line("g", what, found, array, f"onnxruntime · {other}")


def _session(subject: Subject, level: onnxruntime.GraphOptimizationLevel) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    return onnxruntime.InferenceSession(subject.onnx, options, providers=["CPUExecutionProvider"])
