"""What the training inputs of a run look like, as its bundle says it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from export.edge.errors import UserError
from export.edge.model.likeness import Likeness, features, fit
from jax_impl.data.loader import LazyPairs, Pairs

MOST_INPUTS = 512
"""Evenly chosen: a run that is stopped must not read on for minutes."""
_THREADS = 2


def likeness_of(pairs: Pairs | LazyPairs) -> Likeness | None:
    """The likeness of the inputs of training pairs, without augmentation; None where they are too few.

    Pairs that cannot be used are passed over.
    """
    count = len(pairs.names)
    chosen = [i * count // MOST_INPUTS for i in range(MOST_INPUTS)] if count > MOST_INPUTS else list(range(count))

    def found(i: int) -> np.ndarray | None:
        try:
            return features(pairs.cond[i] if isinstance(pairs, Pairs) else pairs.read(i)[0])
        except UserError:
            return None

    with ThreadPoolExecutor(_THREADS) as pool:
        usable = [values for values in pool.map(found, chosen) if values is not None]
    return fit(np.stack(usable)) if usable else None
