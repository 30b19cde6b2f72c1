"""Baselines that look up training pairs: sharp by construction, and what a sharp network has to beat."""

from __future__ import annotations

import numpy as np

from export.edge.pictures.arrays import to_float, to_uint8
from jax_impl.data.loader import Pairs
from jax_impl.evaluation.baselines import Translate, pixel_ridge
from jax_impl.evaluation.memory import nearest_of
from jax_impl.evaluation.smoothing import gaussian_blur

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def retrieval(train: Pairs) -> Translate:
    """The training target whose input is nearest to the picture, by the root mean square over pixels."""

    def translate(picture: np.ndarray, seed: int) -> np.ndarray:
        del seed
        return train.x0[nearest_of(picture[None], train.cond)[0]]

    return translate


def ridge_with_detail(train: Pairs, sigma: float, *, grey: bool) -> Translate:
    """The colours of `pixel_ridge`, and of the retrieved target what a blur by `sigma` pixels takes away.

    grey: only the brightness of that detail is added. From small to large sigma these are points of a curve between
    the nearest colours and the most lifelike pictures that pairs give without a network.
    """
    ridge, find = pixel_ridge(train), retrieval(train)

    def translate(picture: np.ndarray, seed: int) -> np.ndarray:
        found = to_float(find(picture, seed))[None]
        detail = (found - gaussian_blur(found, sigma))[0]
        if grey:
            detail = (detail @ _LUMA)[..., None]
        return to_uint8(to_float(ridge(picture, seed)) + detail)

    return translate
