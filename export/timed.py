"""One engine that draws pictures, timed: the child of `export.bench`, see `export.edge.timing`.

The job is {"engine", "model", "threads", "steps"}; an order {"photo", "pictures", "suffix" of what is written}. What is
measured must not share a process with anything else: memory, threads and what is loaded are its own.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export.edge.errors import run
from export.edge.model.artifact import open_artifact
from export.edge.pictures.arrays import to_float, to_uint8
from export.edge.pictures.files import open_photo, save_picture
from export.edge.sampling.loop import call_noise
from export.edge.sampling.noise import start_noise, step_noise
from export.edge.sampling.tables import Tables, choose
from export.edge.timing import Counted, serve
from export.edge.translate import Options, translate

if TYPE_CHECKING:  # PyTorch is not loaded where export.edge is measured.
    from torch_ref.base import Denoiser

ORIGINAL_STEPS = 100

Translator = Callable[[Path, Path], tuple[int, float]]
"""(photo, output): read, draw and write; returns how often the network ran and the seconds spent in it."""


class Engine:
    """An opened engine."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        self.draw = ENGINES[job["engine"]](Path(job["model"]), job["threads"], job["steps"])
        self.facts: dict[str, Any] = {}

    def answer(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """What each picture cost; the first of a session sets up its memory and is not counted."""
        costs: list[dict[str, float]] = []
        with tempfile.TemporaryDirectory() as folder:
            for number in range(order["pictures"] + 1):
                started = time.perf_counter()
                calls, inside = self.draw(Path(order["photo"]), Path(folder) / f"drawn.{order['suffix']}")
                taken = time.perf_counter() - started
                if number > 0:
                    network = {"network_ms": 1e3 * inside, "step_ms": 1e3 * inside / calls}
                    costs.append({**network, "picture_ms": 1e3 * taken, "outside": 1.0 - inside / taken})
        return {"costs": costs, "peak_mb": peak_mb()}


def peak_mb() -> float:
    """The most memory this process has held, MB."""
    status = Path("/proc/self/status")
    if status.is_file():
        # getrusage would count what the parent held when it forked.
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def edge(path: Path, threads: int, steps: int) -> Translator:
    """The exported file, as on a device."""
    model = open_artifact(path, threads)

    def draw(photo: Path, output: Path) -> tuple[int, float]:
        timed = Counted(model.denoise)
        picture, tags = open_photo(photo)
        save_picture(output, translate(replace(model, denoise=timed), picture, Options(steps)), tags)
        return timed.calls, timed.seconds

    return draw


def reference(path: Path, threads: int, steps: int) -> Translator:
    """PyTorch's module of the same weights, eager, with the sampler that the weights recommend."""
    from torch_ref.weights import load_bundle

    bundle = load_bundle(path)
    recommended = bundle.config["diffusion"]
    process = bundle.tables or {} if bundle.alphas_cumprod is None else bundle.alphas_cumprod
    return _in_torch(bundle.model, process, threads, steps, recommended)


def original(_: Path, threads: int, steps: int) -> Translator:
    """The original script's network and loop, which takes single-step coefficients and bounds nothing."""
    from torch_ref.original import settings
    from torch_ref.weights import build_model

    config, alphas_cumprod = settings()
    how = {"prediction": "eps", "sampler": "original", "clamp": None}
    return _in_torch(build_model(config), alphas_cumprod, threads, steps, how)


def _in_torch(
    model: Denoiser, process: np.ndarray | Tables, threads: int, steps: int, how: Mapping[str, Any]
) -> Translator:
    import torch

    from torch_ref.diffusion import SamplerSettings, sample, sample_by_table, start_by_table

    torch.set_num_threads(threads)
    model.eval()

    def draw(photo: Path, output: Path) -> tuple[int, float]:
        timed = Counted(model)
        picture, tags = open_photo(photo)
        shape = (1, *picture.shape)

        def nchw(values: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(values).permute(0, 3, 1, 2).contiguous()

        cond, noise = nchw(to_float(picture)[None]), nchw(start_noise(0, shape))

        bound = {"clamp": how["clamp"], "threshold": how.get("threshold", 0.0)}
        with torch.inference_mode():
            if isinstance(process, np.ndarray):
                kind = {name: how[name] for name in ("prediction", "sampler", "spacing") if name in how}
                settings = SamplerSettings(steps=steps, **kind, **bound)
                walk = sample(timed, cond, noise, process, lambda call: nchw(step_noise(0, call, shape)), settings)
            else:
                plan = choose(process, how["sampler"], steps)
                start = start_by_table(plan, cond, noise)
                walk = sample_by_table(
                    timed, cond, start, plan, lambda call: nchw(call_noise(plan, 0, call, shape)), **bound
                )
            *_, last = walk
        save_picture(output, to_uint8(np.clip(last.x[0].permute(1, 2, 0).numpy(), -1.0, 1.0)), tags)
        return timed.calls, timed.seconds

    return draw


ENGINES: dict[str, Callable[[Path, int, int], Translator]] = {"edge": edge, "torch": reference, "original": original}
"""`export.edge`; PyTorch's reference; the original script's network and loop in PyTorch, with weights of no meaning."""


if __name__ == "__main__":
    run(lambda: serve(Engine))
