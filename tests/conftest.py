"""What every test stands on: one CPU device, fixed thread counts, fixed random examples, and where things lie."""

from __future__ import annotations

import gc
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

# Before numpy, jax or torch is imported anywhere. A machine's accelerator and its number of cores would change the last
# bits of results, and with them what a tolerance means. Threads of matrix products that wait for each other also take
# three times the processor's time.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
# Arrays of different ranks or kinds of numbers never meet by accident: each change is spelled out in the code.
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")
os.environ.setdefault("JAX_NUMPY_DTYPE_PROMOTION", "strict")
# LLVM's optimisations and, where XLA still has two ways to write a fused loop, the newer one take longer than they save
# in programs this small: without them a training step is compiled in a quarter of the time. Compiled in one part, not
# in many for many threads, it takes a quarter less of the processor's time: the other cores have workers of their own.
# XLA ends the process for a flag that it does not know, and jaxlib 0.11 has that way alone.
_FLAGS = ["--xla_backend_optimization_level=0"]
if importlib.util.find_spec("jaxlib") and metadata.version("jaxlib").startswith("0.10."):
    _FLAGS += ["--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1"]
os.environ.setdefault("XLA_FLAGS", " ".join(_FLAGS))
# Many tests train the same small networks: each program is compiled once per session, not once per test.
_COMPILED = tempfile.TemporaryDirectory(prefix="compiled-")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", _COMPILED.name)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "0")

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

# Shapes and kinds of arrays in the signatures of these packages are checked in every call, as are all other types. Not
# so in those modules of training whose dataclasses JAX also fills with shardings, shapes and the like.
CHECKED = (
    *("jax_impl.model", "jax_impl.diffusion", "jax_impl.training.stages"),
    *(f"jax_impl.training.{name}" for name in ("step", "objective", "guard", "optim", "mesh")),
)
if importlib.util.find_spec("jaxtyping") and importlib.util.find_spec("beartype"):
    import jaxtyping

    jaxtyping.install_import_hook(CHECKED, "beartype.beartype")

ROOT = Path(__file__).resolve().parents[1]

settings.register_profile(
    "repeatable",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("repeatable")


# Tracing and exporting make many small objects among the millions that imports leave; those of the collection all stay.
gc.set_threshold(20_000, 20, 20)
gc.disable()

LONGEST_FIRST = ("tests/parity/", "tests/faults/", "tests/end_to_end/", "tests/test_", "tests/jax_impl/t")
"""Where what takes long lies: begun first, it does not keep one worker busy when the other has nothing left to do."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with LONGEST_FIRST; all else stays as it was collected."""

    def place(item: pytest.Item) -> int:
        starts = (n for n, start in enumerate(LONGEST_FIRST) if item.nodeid.startswith(start))
        return next(starts, len(LONGEST_FIRST))

    items.sort(key=place)
    gc.enable()
    gc.freeze()


def pytest_make_parametrize_id(val: object) -> None:
    """Refuse to name a test after bytes or an array: what they hold may differ from one collection to the next.

    pytest-xdist compares the names that its workers collect, and starts no test where they differ.
    """
    if isinstance(val, bytes | bytearray | memoryview | np.ndarray):
        raise ValueError(f"a parameter is of type {type(val).__name__}: give the parametrize mark `ids`")


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root folder."""
    return ROOT


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process without HOME, whose user is on no list: as in a container that was started with another uid."""
    import pwd

    def unknown(asked: object) -> None:
        raise KeyError(f"{asked} not found")

    for name in ("HOME", "USERPROFILE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name in ("getpwuid", "getpwnam"):
        monkeypatch.setattr(pwd, name, unknown)


Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """`once(name, make)`: a folder that `make(folder)` fills in the first worker that asks; nobody may change it."""
    base = tmp_path_factory.getbasetemp()
    place = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "once"
    place.mkdir(exist_ok=True)

    def made(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = place / name, place / f"{name}.done"
        with FileLock(place / f"{name}.lock"):
            if not done.exists():
                folder.mkdir()  # If `make` failed before, it fails again: by what lies here.
                make(folder)
                done.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def wheel(once: Once) -> Path:
    """The distribution's wheel, built from this checkout with what is installed (no network)."""

    def build(folder: Path) -> None:
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    (built,) = once("wheel", build).glob("*.whl")
    return built
