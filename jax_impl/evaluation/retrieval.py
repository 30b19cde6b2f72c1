"""Baselines that look up training pairs: sharp by construction, and what a sharp network has to beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from export.edge.metrics import LUMA
from export.edge.pictures.arrays import to_float, to_uint8
from jax_impl.data.loader import Pairs
from jax_impl.evaluation.baselines import Draw, Translate
from jax_impl.evaluation.memory import nearest_of
from jax_impl.evaluation.smoothing import gaussian_blur


def retrieval(train: Pairs) -> Draw:
    """The training target whose input is nearest to each picture, by the root mean square over pixels."""
    return lambda pictures, seeds: train.x0[nearest_of(pictures, train.cond)]


def with_detail(base: Translate, find: Draw, sigma: float, *, grey: bool) -> Draw:
    """The colours of `base`, and of the pictures found what a blur by `sigma` pixels takes away.

    grey: only the brightness of that detail is added. From small to large sigma, on ridge regression, these are points
    of a curve between the nearest colours and the most lifelike pictures that pairs give without a network.
    """

    def draw(pictures: np.ndarray, seeds: Sequence[int]) -> np.ndarray:
        found = to_float(find(pictures, seeds))
        detail = found - gaussian_blur(found, sigma)
        if grey:
            detail = (detail @ LUMA.astype(detail.dtype))[..., None]
        colours = np.stack([base(*one) for one in zip(pictures, seeds, strict=True)])
        return to_uint8(to_float(colours) + detail)

    return draw
