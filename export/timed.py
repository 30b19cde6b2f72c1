"""One process that draws pictures with one engine and says what that cost: the child of `export.bench`.

What is measured must not share a process with anything else: memory, threads and what is loaded are its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export.edge.model.artifact import open_artifact
from export.edge.pictures.arrays import to_float, to_uint8
from export.edge.pictures.files import open_photo, save_picture
from export.edge.sampling.noise import start_noise, step_noise
from export.edge.translate import translate

if TYPE_CHECKING:  # PyTorch is not loaded where export.edge is measured.
    from torch_ref.base import UNet

ENGINES = ("edge", "torch", "original")
"""`export.edge`; PyTorch's reference; the original script's network and loop in PyTorch, with weights of no meaning."""
ORIGINAL_STEPS = 100

Draw = Callable[[Path, Path], tuple[int, float]]
"""(photo, output): read, draw and write; returns how often the network ran and the seconds spent in it."""


def main(argv: Sequence[str] | None = None) -> None:
    """Print the costs as one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m export.timed")
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("model", type=Path, help="an ONNX file, or for PyTorch a bundle")
    parser.add_argument("photo", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--pictures", type=int, required=True, help="0 to open the model and end")
    parser.add_argument("--suffix", default="png", help="of what is written")
    args = parser.parse_args(argv)
    make = {"edge": edge, "torch": reference, "original": original}[args.engine]
    draw = make(args.model, args.threads, args.steps)
    costs: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        # The first picture of a session sets up its memory and is not counted.
        for number in range(args.pictures + (args.pictures > 0)):
            started = time.perf_counter()
            calls, inside = draw(args.photo, Path(folder) / f"drawn.{args.suffix}")
            taken = time.perf_counter() - started
            if number > 0:
                network = {"network_ms": 1e3 * inside, "step_ms": 1e3 * inside / calls}
                costs.append({**network, "picture_ms": 1e3 * taken, "outside": 1.0 - inside / taken})
    print(json.dumps({"costs": costs, "peak_mb": peak_mb()}))


def peak_mb() -> float:
    """The most memory this process has held, MB."""
    status = Path("/proc/self/status")
    if status.is_file():
        # getrusage would count what the parent held when it forked.
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def edge(path: Path, threads: int, steps: int) -> Draw:
    """The exported file, as on a device."""
    model = open_artifact(path, threads)

    def draw(photo: Path, output: Path) -> tuple[int, float]:
        calls, inside = 0, 0.0

        def timed(x_t: np.ndarray, cond: np.ndarray, t: np.ndarray) -> np.ndarray:
            nonlocal calls, inside
            begun = time.perf_counter()
            out = model.denoise(x_t, cond, t)
            calls, inside = calls + 1, inside + time.perf_counter() - begun
            return out

        picture, tags = open_photo(photo)
        save_picture(output, translate(replace(model, denoise=timed), picture, steps), tags)
        return calls, inside

    return draw


def reference(path: Path, threads: int, steps: int) -> Draw:
    """PyTorch's module of the same weights, eager, with the sampler that the weights recommend."""
    from torch_ref.weights import load_bundle

    bundle = load_bundle(path)
    recommended = bundle.config["diffusion"]
    return _in_torch(bundle.model, bundle.alphas_cumprod, threads, steps, recommended)


def original(_: Path, threads: int, steps: int) -> Draw:
    """The original script's network and loop, which takes single-step coefficients and bounds nothing."""
    from torch_ref.original import settings
    from torch_ref.weights import build_model

    config, alphas_cumprod = settings()
    how = {"prediction": "eps", "sampler": "original", "clamp": None}
    return _in_torch(build_model(config), alphas_cumprod, threads, steps, how)


def _in_torch(model: UNet, alphas_cumprod: np.ndarray, threads: int, steps: int, how: Mapping[str, Any]) -> Draw:
    import torch

    from torch_ref.diffusion import sample

    torch.set_num_threads(threads)
    model.eval()

    def draw(photo: Path, output: Path) -> tuple[int, float]:
        calls, inside = 0, 0.0

        def timed(x_t: torch.Tensor, cond: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            nonlocal calls, inside
            begun = time.perf_counter()
            out = model(x_t, cond, t)
            calls, inside = calls + 1, inside + time.perf_counter() - begun
            return out

        picture, tags = open_photo(photo)
        shape = (1, *picture.shape)

        def nchw(values: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(values).permute(0, 3, 1, 2).contiguous()

        cond = nchw(to_float(picture)[None])
        with torch.inference_mode():
            walk = sample(
                timed,
                cond,
                nchw(start_noise(0, shape)),
                alphas_cumprod,
                lambda index: nchw(step_noise(0, index, shape)),
                steps=steps,
                prediction=how["prediction"],
                sampler=how["sampler"],
                clamp=how["clamp"],
                threshold=how.get("threshold", 0.0),
                spacing=how.get("spacing", "trailing"),
            )
            *_, last = walk
        save_picture(output, to_uint8(np.clip(last.x[0].permute(1, 2, 0).numpy(), -1.0, 1.0)), tags)
        return calls, inside

    return draw


if __name__ == "__main__":
    main()
