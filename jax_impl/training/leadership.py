"""The primary process of a run: it alone writes; the others do what it decides."""

from __future__ import annotations

import jax
import numpy as np
from jax.experimental import multihost_utils


def is_primary() -> bool:
    """Whether this process is the primary one, which writes the run folder."""
    return jax.process_index() == 0


def broadcast_from_primary(number: int) -> int:
    """The int32 that the primary process passes; all processes call it at the same time."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.broadcast_one_to_all(np.int32(number)))
