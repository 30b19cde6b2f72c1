"""Where compiled programs are kept, so that a run that starts again does not compile again."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import jax

from export.edge.disk.home import caches, make_writable

SWITCH = "DAWN2DUSK_COMPILED"
"""Environment variable: `off`, or the folder in which to keep them."""
MOST_BYTES = 2 * 2**30
"""Of the programs that are there when a process starts; the oldest are removed. JAX's own limit asks for the name of
the files' owner, and in JAX 0.10 fails to keep any program where the list of users has none."""


def keep_programs() -> Path | None:
    """Have JAX keep what it compiles; returns the folder, or None where that is switched off or cannot be.

    A folder that JAX_COMPILATION_CACHE_DIR names already stays. Where nothing can be written, a line on stderr says so.
    """
    asked = os.environ.get(SWITCH, "")
    told: str | None = getattr(jax.config, "jax_compilation_cache_dir")  # noqa: B009
    if asked == "off" or told:
        return Path(told) if told else None
    home = caches()
    base = Path(asked) if asked else home and home / "dawn2dusk" / "jax"
    # Programs for a processor hold its own instructions, and a home may be shared by many kinds.
    folder = base and base / _processor()
    if folder is None or not make_writable(folder):
        why = "there is no home folder" if folder is None else f"nothing can be written in {folder}"
        print(f"compiled programs are not kept: {why}; {SWITCH}=FOLDER names another place", file=sys.stderr)
        return None
    trim(folder, MOST_BYTES)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    return folder


def trim(folder: Path, most: int) -> None:
    """Remove the files of a folder that were neither written nor read for longest, until the rest has `most` bytes."""
    files = sorted(_files(folder), reverse=True)
    total = 0
    for _, size, path in files:
        total += size
        if total > most:
            with suppress(OSError):  # Another process has removed it, or may not.
                path.unlink()


def _files(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """When each file of a folder was last used, its bytes, and its path."""
    for path in folder.iterdir():
        with suppress(OSError):
            status = path.stat()
            yield max(status.st_atime, status.st_mtime), status.st_size, path


def _processor() -> str:
    """A short name of this processor's instruction set."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.is_file() else []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    return f"{platform.machine()}-{hashlib.sha256(flags.encode()).hexdigest()[:8]}"
