"""Memory that training keeps: later steps ask the system for none; and XLA's flag, which it must know."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import jax
import pytest

from jax_impl.training.cpu import EIGEN, eigen_convolutions, keep_memory

SETTINGS = ("GLIBC_TUNABLES", "MALLOC_ARENA_MAX", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_")
FAULTS = """
import resource, sys
from jax_impl.training.cpu import keep_memory
assert keep_memory() == (sys.argv[1] == "kept")
import jax, jax.numpy as jnp
# As in a training step: temporary arrays of a compiled program.
work = jax.jit(lambda x: jnp.sum(jnp.cumsum(jnp.outer(x, x), axis=0)))
x = jnp.arange(2000.0)
faults = []
for _ in range(20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work(x).block_until_ready()
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(sorted(faults[10:])[5])
"""
glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator is that of another C library")


def faults(root: Path, case: str, **environment: str) -> int:
    own = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    environment = {**own, "JAX_PLATFORMS": "cpu", **environment}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, case], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@glibc
def test_a_later_step_faults_no_page_in(root: Path) -> None:
    # The first calls find how large the heap must be.
    kept, given_back = faults(root, "kept"), faults(root, "given back", MALLOC_MMAP_MAX_="65536")
    assert kept < 0.1 * given_back


@pytest.mark.parametrize("name", SETTINGS)
def test_an_allocator_that_is_set_stays_so(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    assert not keep_memory()


def test_nothing_changes_where_an_accelerator_may_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    platforms = getattr(jax.config, "jax_platforms")  # noqa: B009
    try:
        jax.config.update("jax_platforms", "cuda,cpu")
        assert not keep_memory()
    finally:
        jax.config.update("jax_platforms", platforms)


CONVOLVE = """
import os, sys
import jax, jax.numpy as jnp
from jax_impl.training.cpu import eigen_convolutions
with eigen_convolutions("unet") as changed:
    jax.devices()
assert changed and not os.environ["XLA_FLAGS"]
x, w = jnp.ones((16, 16, 16, 32)), jnp.ones((3, 3, 32, 32))
layout = ("NHWC", "HWIO", "NHWC")
step = jax.jit(lambda x, w: jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=layout))
assert "ynn" not in step.lower(x, w).compile().as_text()
assert step(x, w)[0, 8, 8, 0] == 9 * 32
"""


@pytest.mark.skipif(version("jaxlib") not in EIGEN, reason="no flag is set for this version of jaxlib")
def test_xla_knows_the_flag_and_leaves_convolutions_to_eigen(root: Path) -> None:
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    del environment["XLA_FLAGS"]
    done = subprocess.run(
        [sys.executable, "-c", CONVOLVE], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("architecture", "flags", "jaxlib"),
    [("seed", "", "0.10.2"), ("unet", "--xla_cpu_enable_fast_math=false", "0.10.2"), ("unet", "", "0.99.0")],
)
def test_flags_that_are_set_and_versions_that_are_not_known_stay_alone(
    architecture: str, flags: str, jaxlib: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLA_FLAGS", flags)
    monkeypatch.setattr("jax_impl.training.cpu.version", {"jaxlib": jaxlib}.__getitem__)
    with eigen_convolutions(architecture) as changed:
        assert not changed and os.environ["XLA_FLAGS"] == flags
