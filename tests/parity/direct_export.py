"""The exported file beside one that never saw PyTorch: JAX to ONNX directly, by the third-party package jax2onnx.

`python -m tests.parity.direct_export model.safetensors`. jax2onnx runs in a virtual
environment of its own (about 1 GB, from the package index), because it wants other
versions of some packages than the project does. Writes `parity.json` and `parity.md`;
exit status as for `python -m tests.parity`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import onnxruntime

from export.edge.disk.files import check_output_folder
from export.edge.errors import UserError, run
from export.edge.model.layout import DENOISER
from jax_impl.runs.bundles import write_bundle
from tests.parity.__main__ import describe, open_subject, report
from tests.parity.ladder import Line
from tests.parity.network import apply, forward_line, inputs
from tests.parity.onnx_file import OPTIMISATIONS
from tests.parity.subject import Subject, to_torch

ROOT = Path(__file__).resolve().parents[2]
JAX2ONNX = "0.17.1"
SHARED = ("jax", "jaxlib", "flax", "numpy", "safetensors")
"""Packages that both environments have in the same version."""
BATCHES = (1, 2, 5)


def main(argv: Sequence[str] | None = None) -> None:
    """The command line. Raises UserError for what cannot be compared, and SystemExit(1) for drift."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.parity.direct_export", description="Compare the exported file with jax2onnx's."
    )
    parser.add_argument("subject", help="a bundle model.safetensors, a run folder, or a preset's name")
    parser.add_argument("--size", type=int, help="side of the pictures, pixels (default: the training size)")
    parser.add_argument("--environment", type=Path, help="where to keep the virtual environment (default: nowhere)")
    parser.add_argument("--output", type=Path, default=Path("parity-direct"), help="folder for the table")
    args = parser.parse_args(argv)
    check_output_folder(args.output, "--output")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subject = open_subject(args.subject, folder, args.size)
        python = make_environment(args.environment or folder / "environment")
        direct = convert(python, subject, folder / "direct.onnx")
        about = {**describe(subject, args.subject), "jax2onnx": JAX2ONNX}
        failed = report(direct_export(subject, direct), about, args.output)
    if failed:
        print(f"{failed} lines are outside their tolerance")
        raise SystemExit(1)


def make_environment(folder: Path) -> Path:
    """The Python of a virtual environment with jax2onnx, made if need be. Raises UserError when it cannot be."""
    python = folder / "bin" / "python"
    packages = [f"jax2onnx=={JAX2ONNX}", *(f"{name}=={version(name)}" for name in SHARED)]
    # Filled by this environment's pip: where Python comes without ensurepip, a new one has none.
    for command in (
        [sys.executable, "-m", "venv", "--without-pip", str(folder)],
        [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", *packages],
    ):
        _run(command, "cannot set up the environment of jax2onnx", "see that the package index can be reached")
    return python


def convert(python: Path, subject: Subject, output: Path) -> Path:
    """`output`, written by jax2onnx from the subject's bundle, for pictures of its size and any batch."""
    bundle = output.with_suffix(".safetensors")
    write_bundle(
        bundle, {DENOISER: (subject.params, subject.stats)}, subject.problem.process.published(), subject.config
    )
    command = [str(python), "-m", "tests.parity.direct_convert", str(bundle), str(subject.config.data.size)]
    _run([*command, str(output)], f"jax2onnx {JAX2ONNX} cannot convert the network", "try it on a preset's name")
    return output


def direct_export(subject: Subject, direct: Path) -> Iterator[Line]:
    """Level g: outputs of the file by jax2onnx beside those of the exported file, and beside JAX's."""
    size = subject.config.data.size
    for name, level in OPTIMISATIONS.items():
        theirs, ours = _session(direct, level), _session(subject.onnx, level)
        for batch in BATCHES:
            channels = subject.config.model.cond_channels
            x_t, cond, t = inputs((batch, size, size), subject.config.diffusion.timesteps, batch, channels)
            x_t, cond = x_t.astype(np.float32), cond.astype(np.float32)
            (found,) = theirs.run(None, {"x_t": x_t, "cond": cond, "t": t.astype(np.int32)})
            (exported,) = ours.run(None, {"x_t": to_torch(x_t).numpy(), "cond": to_torch(cond).numpy(), "t": t})
            arrays = jnp.asarray(x_t), jnp.asarray(cond), jnp.asarray(t)
            in_jax, _ = apply(subject.problem.network, subject.params, subject.stats, *arrays, train=False)
            for other, output in (("torch→ONNX", exported.transpose(0, 2, 3, 1)), ("JAX", np.asarray(in_jax))):
                what = f"forward, {name}, {batch} × {size} × {size}"
                yield forward_line("g", what, found, output, f"JAX→ONNX · {other}")


def _session(path: Path, level: onnxruntime.GraphOptimizationLevel) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 3  # jax2onnx leaves unused initializers behind, each worth a warning.
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _run(command: list[str], failure: str, remedy: str) -> None:
    """Run a command in the root folder; UserError with the last line that it said when it fails."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines() or ["it said nothing"]
        raise UserError(f"{failure} ({said[-1]}); {remedy}")


if __name__ == "__main__":
    run(main)
