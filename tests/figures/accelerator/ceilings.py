"""What the device is, the versions, and its two ceilings: a matrix product and a copy, by JAX's own clock."""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from export.edge.disk.files import write_json
from export.edge.errors import run
from tests.figures.counts import check_counts

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "torch", "onnx", "onnxruntime")
TIMES = 7


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.figures.accelerator.ceilings")
    parser.add_argument("--matrix", type=int, default=8192)
    parser.add_argument("--bytes", type=int, default=2**32)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(argv)
    check_counts(args, "matrix", "bytes")
    found: dict[str, Any] = facts()
    write_json(args.output, found)
    for dtype in ("bfloat16", "float32"):
        found[f"product_{dtype}_flops"] = product_flops(args.matrix, dtype)
        write_json(args.output, found)
    found["copy_bytes_per_second"] = copy_rate(args.bytes)
    write_json(args.output, found)


def facts() -> dict[str, Any]:
    """Device, driver, system and versions."""
    device = jax.devices()[0]
    return {
        "device": device.device_kind,
        "devices": len(jax.devices()),
        "platform": device.platform,
        "backend": device.client.platform_version.strip().replace("\n", ", "),
        "driver": driver(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "memory": (device.memory_stats() or {}).get("bytes_limit"),
    }


def driver() -> str | None:
    """NVIDIA's driver and the card, as its tool says; None where that is not there."""
    words = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def version(package: str) -> str | None:
    """Version of an installed distribution; None for one that is not there."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def product_flops(side: int, dtype: str) -> float:
    """FLOP/s of a product of two random square matrices, as JAX computes it by default."""
    a, b = (jax.random.normal(jax.random.key(n), (side, side), jnp.dtype(dtype)) for n in range(2))
    return 2.0 * side**3 / seconds(jax.jit(jnp.dot), a, b)


def copy_rate(size: int) -> float:
    """Bytes a second, read and written, of a pass over an array of that many bytes."""
    array = jax.random.normal(jax.random.key(0), (size // 4,), jnp.float32)
    # Not a plain copy, which the compiler might leave out.
    return 2.0 * size / seconds(jax.jit(jnp.negative), array)


def seconds(function: Callable[..., jax.Array], *given: jax.Array) -> float:
    """The median of some calls, after one that compiles."""
    jax.block_until_ready(function(*given))
    taken = []
    for _ in range(TIMES):
        began = time.perf_counter()
        jax.block_until_ready(function(*given))
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


if __name__ == "__main__":
    run(main)
