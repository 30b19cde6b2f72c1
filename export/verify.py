"""Does the exported file say what torch says? `python -m export.verify model.safetensors artifact/onnx/model.onnx`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from export.edge.artifact import Artifact, open_artifact
from export.edge.errors import UserError, run
from torch_ref.weights import Bundle, load_bundle

BAR = 1e-5
"""Largest difference allowed, for outputs of unit size."""
LARGEST_SIDE = 256
"""Pixels; larger training sizes are checked at this side, for the sake of time and memory."""


@dataclass(frozen=True)
class Row:
    """One comparison."""

    batch: int
    height: int
    width: int
    timesteps: tuple[int, ...]
    difference: float
    """Largest absolute difference, divided by the root mean square of torch's output where that exceeds 1."""


def measure(bundle: Bundle, path: Path, threads: int | None = None) -> Iterator[Row]:
    """Compare torch with the file at `path` in onnxruntime, one Row for each shape.

    The shapes: the smallest picture, an odd batch of a non-square one, the training
    size, and a pair beside it; timesteps from 0 to T-1. Raises UserError for a file
    that is not ours, was made from other weights, or predicts what is not finite.
    """
    artifact = open_artifact(path, threads)
    if artifact.weights_digest != bundle.weights_digest:
        raise UserError(
            f"model {path} was made from other weights ({artifact.weights_digest[:12]}…) than the bundle "
            f"({bundle.weights_digest[:12]}…); export the bundle again"
        )
    multiple = artifact.size_multiple
    side = max(multiple, min(artifact.size, LARGEST_SIDE) // multiple * multiple)
    shapes = [(1, multiple, multiple), (3, 2 * multiple, 5 * multiple), (1, side, side), (2, side, side + 3 * multiple)]
    times = np.linspace(0, len(artifact.alphas_cumprod) - 1, sum(batch for batch, _, _ in shapes)).astype(np.int64)
    rng = np.random.default_rng(0)
    for batch, height, width in shapes:
        t, times = times[:batch], times[batch:]
        x_t = rng.standard_normal((batch, height, width, 3), np.float32)
        cond = rng.uniform(-1.0, 1.0, x_t.shape).astype(np.float32)
        if artifact.coordinates and batch > 1:
            # A part of a larger picture, besides whole ones, to which either side adds the coordinates by itself.
            cond = np.concatenate([cond, rng.uniform(-1.0, 1.0, (batch, height, width, 2)).astype(np.float32)], axis=-1)
        difference = _difference(bundle, artifact, x_t, cond, t)
        yield Row(batch, height, width, tuple(int(v) for v in t), difference)


def compare(bundle: Bundle, onnx_path: Path, threads: int | None = None) -> float:
    """The largest difference of all shapes that `measure` tries."""
    return max(row.difference for row in measure(bundle, onnx_path, threads))


def _difference(bundle: Bundle, artifact: Artifact, x_t: np.ndarray, cond: np.ndarray, t: np.ndarray) -> float:
    with torch.inference_mode():
        x_t_nchw, cond_nchw = (torch.from_numpy(a).permute(0, 3, 1, 2).contiguous() for a in (x_t, cond))
        wanted = bundle.model(x_t_nchw, cond_nchw, torch.from_numpy(t)).permute(0, 2, 3, 1).numpy()
    found = artifact.denoise(x_t, cond, t)
    if not (np.isfinite(wanted).all() and np.isfinite(found).all()):
        raise UserError(f"the prediction at timesteps {t.tolist()} is not finite; train again or choose other weights")
    scale = max(1.0, float(np.sqrt(np.mean(np.square(wanted, dtype=np.float64)))))
    return float(np.max(np.abs(wanted - found))) / scale


def main(argv: Sequence[str] | None = None) -> None:
    """The command line. Raises UserError when a shape differs by more than BAR."""
    parser = argparse.ArgumentParser(
        prog="python -m export.verify", description="Compare an exported model with torch on the same weights."
    )
    parser.add_argument("bundle", type=Path, help="the bundle it was made from, model.safetensors")
    parser.add_argument("model", type=Path, help="the exported file, artifact/onnx/model.onnx")
    args = parser.parse_args(argv)
    bundle = load_bundle(args.bundle)
    print(f"{'batch':>5}  {'height x width':>14}  {'timesteps':<16}  difference")
    worst = 0.0
    for row in measure(bundle, args.model):
        size, times = f"{row.height} x {row.width}", ", ".join(map(str, row.timesteps))
        print(f"{row.batch:>5}  {size:>14}  {times:<16}  {row.difference:.1e}")
        worst = max(worst, row.difference)
    if worst > BAR:
        raise UserError(f"{args.model} differs from torch by {worst:.1e}, more than {BAR:.0e}; export the bundle again")
    print(f"largest difference {worst:.1e}, allowed {BAR:.0e}")


def cli() -> None:
    """The console script."""
    run(main)


if __name__ == "__main__":
    cli()
