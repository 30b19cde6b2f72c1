"""The train step of a config in JAX, timed: the child of `jax_impl.bench`, see `export.edge.timing`.

The job is {"config": a config tree, "steps_a_call": k}; an order {"steps": n}, or {"steps": n, "trace": folder} for a
profile.
"""

from __future__ import annotations

import collections
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from export.edge.errors import run
from export.edge.timing import serve
from jax_impl.bench.flops import step_flops
from jax_impl.config.as_json import from_json
from jax_impl.config.tree import Config
from jax_impl.devices import start_devices
from jax_impl.model.learned_codec import LearnedCodecConfig
from jax_impl.model.network import count
from jax_impl.training.cpu import eigen_convolutions, keep_memory
from jax_impl.training.interfaces import Batch, Metrics, StepFunction
from jax_impl.training.objective import Problem
from jax_impl.training.optim import learning_rate, make_optimizer
from jax_impl.training.progress import fetch
from jax_impl.training.state import create
from jax_impl.training.step import make_train_step

TOP = 5
"""Operations of a profile that are named."""


def main(argv: Sequence[str] | None = None) -> None:
    """Compile, then take steps as they are asked for."""
    # What compiling takes is one of the figures.
    jax.config.update("jax_enable_compilation_cache", False)
    # As in training.
    keep_memory()
    serve(_race, argv)


def _race(job: Mapping[str, Any]) -> Race:
    config = from_json(json.dumps(job["config"]))
    with eigen_convolutions(config.model.architecture):
        return Race(config, job.get("steps_a_call", 1))


class Race:
    """The train step of a config, compiled, on the first device, with one batch of random pictures there."""

    def __init__(self, config: Config, steps_a_call: int = 1) -> None:
        """`steps_a_call`: training steps in one compiled program, in a loop."""
        start_devices()
        self.steps_a_call = steps_a_call
        self.device, size, rows = jax.devices()[0], config.data.size, config.train.batch_size
        self.total = 1000 * config.train.epochs
        optimizer = make_optimizer(config.optim, learning_rate(config.optim, 1000, 1000))
        network, self.state = create(config, optimizer)
        formula = step_flops(config)
        if isinstance(config.codec, LearnedCodecConfig):
            config = replace(config, codec=config.codec.filled(config.codec.fresh(jax.random.key(0))))
        problem = Problem.of(network, config)
        pictures = np.random.default_rng(0).integers(0, 256, (2, rows, size, size, 3), np.uint8)
        self.batch, self.indices = Batch(*map(jnp.asarray, pictures)), jnp.arange(rows)
        step = cast(Any, repeated(make_train_step(problem, 1000), steps_a_call))
        parameters = count(self.state.params)
        began = time.perf_counter()
        self.step = step.lower(self.state, self.batch, self.indices, self.total).compile()
        compile_seconds = time.perf_counter() - began
        memory, cost = self.step.memory_analysis(), self.step.cost_analysis()
        self.facts: dict[str, Any] = {
            "device": self.device.device_kind,
            "platform": self.device.platform,
            "parameters": parameters,
            "compile_seconds": compile_seconds,
            "xla_flops": float(cost["flops"]) if cost and "flops" in cost else None,
            "formula_flops": formula,
        }
        self.planned = None
        if memory is not None:
            outputs = memory.output_size_in_bytes - memory.alias_size_in_bytes
            self.planned = memory.argument_size_in_bytes + outputs + memory.temp_size_in_bytes
        self.run(1)
        if self.device.platform == "cpu":
            self.facts["matmul_flops"] = matmul_flops()

    def run(self, steps: int) -> float:
        """Seconds for that many steps, rounded up to whole calls; metrics are fetched after the last."""
        began = time.perf_counter()
        metrics: Metrics = {}
        for _ in range(-(-steps // self.steps_a_call)):
            self.state, metrics = self.step(self.state, self.batch, self.indices, self.total)
        fetch(metrics)
        return time.perf_counter() - began

    def answer(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Seconds of some steps, of the clock and of processors, and the most memory so far; or a profile of them.

        Memory is what the device reports, or what the compiler planned. Where the order has "digest", the answer holds
        one of all weights, to compare two processes by.
        """
        if order.get("trace") is not None:
            return self.trace(Path(order["trace"]), order["steps"])
        began = time.process_time()
        seconds, memory = self.run(order["steps"]), self.device.memory_stats() or {}
        used, peak = time.process_time() - began, memory.get("peak_bytes_in_use", self.planned)
        found = {"seconds": seconds, "cpu_seconds": used, "peak_bytes": peak}
        return {**found, "digest": self.digest()} if order.get("digest") else found

    def digest(self) -> str:
        """SHA-256 of the weights."""
        leaves = jax.device_get(jax.tree.leaves(self.state.params))
        return hashlib.sha256(b"".join(np.ascontiguousarray(leaf).tobytes() for leaf in leaves)).hexdigest()

    def trace(self, folder: Path, steps: int) -> dict[str, Any]:
        """Write an XLA profile of some steps, and the program, whose text says what each operation computes.

        Returns the operations that took longest, with their share.
        """
        with jax.profiler.trace(folder):
            self.run(steps)
        (folder / "program.txt").write_text(self.step.as_text(), encoding="utf-8")
        (file,) = sorted(folder.rglob("*.xplane.pb"))[-1:]
        return {"top": top_operations(file)}


def repeated(step: StepFunction, times: int) -> StepFunction:
    """A training step, or that many of them on the same batch in one compiled program; the last one's figures."""
    if times == 1:
        return step

    def steps(state: Any, pairs: Batch, indices: jax.Array | None, total: jax.Array | int) -> tuple[Any, Metrics]:
        state, metrics = jax.lax.scan(lambda state, _: step(state, pairs, indices, total), state, length=times)
        return state, jax.tree.map(lambda each: each[-1], metrics)

    return cast(StepFunction, jax.jit(steps, donate_argnums=0))


def top_operations(profile: Path) -> list[tuple[str, float]]:
    """The operations of a profile that took longest, each with its share of the time of all.

    On a GPU each is followed by its kernel, and a kernel that belongs to no operation counts under its own name.
    """
    spent: collections.Counter[str] = collections.Counter()
    for plane in jax.profiler.ProfileData.from_file(str(profile)).planes:
        on_gpu = plane.name.startswith("/device:GPU")
        for line in plane.lines:
            kernels = on_gpu and line.name.startswith("Stream")
            for event in line.events:
                operation = dict(event.stats).get("hlo_op")
                if kernels:
                    spent[f"{operation}: {event.name}" if operation else event.name] += event.duration_ns
                elif operation is not None and not on_gpu:
                    spent[str(operation)] += event.duration_ns
    total = sum(spent.values())
    return [(name, taken / total) for name, taken in spent.most_common(TOP)]


def matmul_flops(side: int = 1024, times: int = 5) -> float:
    """FLOP/s of the best of some float32 products of two square matrices."""
    product = jax.jit(jnp.dot)
    matrix = jax.random.normal(jax.random.key(0), (side, side))
    jax.block_until_ready(product(matrix, matrix))
    best = np.inf
    for _ in range(times):
        began = time.perf_counter()
        jax.block_until_ready(product(matrix, matrix))
        best = min(best, time.perf_counter() - began)
    return 2.0 * side**3 / best


if __name__ == "__main__":
    run(main)
