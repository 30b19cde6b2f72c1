"""What makes training on a CPU faster: memory that stays with the process, and the convolutions of another library.

XLA allocates a step's working memory again at each step. glibc returns memory of that size to the system at once, and
the system clears it page by page when it is asked for again: up to a quarter of a step's processor time.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points, version

import jax

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Of glibc's malloc.h."""
_SETTINGS = {_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1}
"""Large blocks too lie in the heaps, and what is free at a heap's end stays. A thread's heap ends at 64 MB: a larger
block is still returned. One heap for all threads (M_ARENA_MAX) would keep it, but then threads wait for each other: a
step of `quick` takes a quarter longer."""
_OWN_SETTINGS = ("GLIBC_TUNABLES", "MALLOC_ARENA_MAX", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_")
"""Variables of the environment by which a user has decided."""

EIGEN = {
    "0.10.2": "--xla_cpu_experimental_ynn_fusion_type=-LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION",
}
"""The flag that leaves convolutions to Eigen instead of YNNPACK, by versions of jaxlib that are known to have it: XLA
ends the process for a flag that it does not know."""


@contextmanager
def eigen_convolutions(architecture: str) -> Iterator[bool]:
    """Where JAX is started inside, the convolutions of the network `unet` are left to Eigen; yields whether they are.

    With two threads a step of `tiny` then takes 0.8 of the time. A step of `seed` takes more, so there nothing is
    changed. Neither is it where an accelerator may compute, nor where XLA_FLAGS is set.
    """
    flag = EIGEN.get(version("jaxlib"))
    if architecture != "unet" or flag is None or os.environ.get("XLA_FLAGS") or not _on_cpu():
        yield False
        return
    os.environ["XLA_FLAGS"] = flag
    try:
        yield True
    finally:
        # XLA has read it. A process that is started later decides for itself.
        os.environ["XLA_FLAGS"] = os.environ["XLA_FLAGS"].replace(flag, "").strip()


def keep_memory() -> bool:
    """Have the allocator keep what it is given back, in blocks of at most 64 MB; returns whether it does.

    Nothing is changed where an accelerator may compute, where the C library is not glibc, and where the environment
    sets the allocator already. The process may hold some more memory, since what is free stays in pieces.
    """
    if platform.libc_ver()[0] != "glibc" or not _on_cpu() or any(name in os.environ for name in _OWN_SETTINGS):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(name, value) == 1 for name, value in _SETTINGS.items())


def _on_cpu() -> bool:
    """Whether JAX can only compute on the CPU; its devices are not started."""
    asked: str | None = getattr(jax.config, "jax_platforms")  # noqa: B009
    if asked:
        return asked == "cpu"
    return not entry_points(group="jax_plugins") and importlib.util.find_spec("libtpu") is None
