"""Where compiled programs are kept, so that a run that starts again does not compile again."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path

import jax

SWITCH = "DAWN2DUSK_COMPILED"
"""Environment variable: `off`, or the folder in which to keep them."""
_MOST_BYTES = 2 * 2**30


def keep_programs() -> Path | None:
    """Have JAX keep what it compiles; returns the folder, or None where that is switched off.

    A folder that JAX_COMPILATION_CACHE_DIR names already stays.
    """
    asked = os.environ.get(SWITCH, "")
    told: str | None = getattr(jax.config, "jax_compilation_cache_dir")  # noqa: B009
    if asked == "off" or told:
        return Path(told) if told else None
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    # Programs for a processor hold its own instructions, and a home may be shared by many kinds.
    folder = (Path(asked) if asked else home / "dawn2dusk" / "jax") / _processor()
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", _MOST_BYTES)
    return folder


def _processor() -> str:
    """A short name of this processor's instruction set."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.is_file() else []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    return f"{platform.machine()}-{hashlib.sha256(flags.encode()).hexdigest()[:8]}"
