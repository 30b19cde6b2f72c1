"""The train step of a config in PyTorch, timed: a child of `jax_impl.bench`, see `export.edge.timing`.

The job is {"config": a config tree, "alphas_cumprod": [T numbers], "size", "batch_size", "compile"}; an order
{"steps": n}.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from export.edge.errors import run
from export.edge.threads import processors
from export.edge.timing import serve
from torch_ref.trainer import Drawn, Metrics, Trainer
from torch_ref.weights import build_model


def main(argv: Sequence[str] | None = None) -> None:
    """Set up, then take steps as they are asked for."""
    serve(Race, argv)


class Race:
    """A network in training, on the first GPU where there is one, else on the processor.

    Eager, or with `compile` through `torch.compile`, channels last. Where the config trains in bfloat16 the network
    runs under autocast. Raises UserError for a config that names no network or does not say how to train.
    """

    def __init__(self, job: Mapping[str, Any]) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        cores = processors()
        torch.set_num_threads(cores)
        name = torch.cuda.get_device_name() if self.device.type == "cuda" else f"CPU, {cores} threads"
        # As XLA does: convolutions chosen by timing, products of float32 in TF32.
        torch.backends.cudnn.benchmark = True
        if self.device.type == "cuda":
            torch.set_float32_matmul_precision("high")
            torch.backends.cudnn.allow_tf32 = True
        torch.manual_seed(0)
        config, compiled = job["config"], bool(job["compile"])
        model = build_model(config).to(self.device)
        self.layout = torch.channels_last if compiled else torch.contiguous_format
        model = model.to(memory_format=self.layout)  # type: ignore[call-overload]
        half = config["model"].get("compute_dtype", "float32") == "bfloat16"
        self.trainer = Trainer(
            model,
            np.asarray(job["alphas_cumprod"], np.float64),
            config,
            steps_per_epoch=1000,
            autocast=torch.bfloat16 if half else None,
            compiler="inductor" if compiled else None,
        )
        self.timesteps = len(job["alphas_cumprod"])
        shape = (2, job["batch_size"], 3, job["size"], job["size"])
        self.pictures = torch.randint(0, 256, shape, dtype=torch.uint8, device=self.device)
        began = time.perf_counter()
        self.run(1)
        self.facts: dict[str, Any] = {"device": name, "first_seconds": time.perf_counter() - began}
        self.facts["parameters"] = sum(p.numel() for p in model.parameters())

    def run(self, steps: int) -> float:
        """Seconds for that many steps, the drawing of noise and timesteps included; metrics are read after the last."""
        began = time.perf_counter()
        metrics: Metrics = {}
        for _ in range(steps):
            metrics = self.trainer.step(*self.draw())
        float(metrics["loss"])
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    def answer(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Seconds of some steps, of the clock and of processors, and the most memory so far."""
        began = time.process_time()
        seconds = self.run(order["steps"])
        return {"seconds": seconds, "cpu_seconds": time.process_time() - began, "peak_bytes": self.peak_bytes()}

    def draw(self) -> Drawn:
        """What a step needs, from uint8 pictures on the device."""
        cond, x0 = ((p.float() - 127.5) / 127.5 for p in self.pictures)
        cond, x0 = cond.contiguous(memory_format=self.layout), x0.contiguous(memory_format=self.layout)
        t = torch.randint(0, self.timesteps, (len(x0),), device=self.device)
        return cond, x0, t, torch.randn_like(x0)

    def peak_bytes(self) -> int | None:
        """Most memory that tensors took on a GPU so far; a processor's is not counted."""
        return torch.cuda.max_memory_allocated() if self.device.type == "cuda" else None


if __name__ == "__main__":
    run(main)
