"""Distances of two pictures by networks that others have trained, from weights that the user points to."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np

from export.edge.errors import UserError
from export.edge.pictures.arrays import to_float
from jax_impl.evaluation.scoring import Metric
from jax_impl.perceptual.clip import clip, open_clip
from jax_impl.perceptual.lpips import backbone_of, lpips, open_lpips


def lpips_metric(path: Path) -> Metric:
    """LPIPS of two uint8 pictures (height, width, 3), 0 for equal ones, up to rounding.

    Raises UserError for a file that is not one of LPIPS weights, is damaged or does not fill the network; the measure
    does for pictures too small for it.
    """
    weights = open_lpips(path, "--lpips")
    network, compiled = backbone_of(weights), jax.jit(lpips)

    def distance(a: np.ndarray, b: np.ndarray) -> float:
        least = network.smallest
        if min(a.shape[:2]) < least:
            raise UserError(
                f"LPIPS over {network.name} needs pictures of at least {least} x {least} pixels, got {a.shape[1]} x "
                f"{a.shape[0]}; leave out --lpips, or choose a larger --data.size"
            )
        return float(compiled(weights, to_float(a)[None], to_float(b)[None])[0])

    return Metric(f"LPIPS ({network.name})", 3, distance, np.positive)


def clip_metric(path: Path) -> Metric:
    """1 - the cosine of the angle between CLIP's embeddings of two uint8 pictures (height, width, 3), 0 to 2.

    Raises UserError for a file that is not one of CLIP weights, is damaged or does not fill the network.
    """
    weights, compiled = open_clip(path, "--clip"), jax.jit(clip)

    def distance(a: np.ndarray, b: np.ndarray) -> float:
        first, second = (np.asarray(compiled(weights, to_float(picture)[None])[0], np.float64) for picture in (a, b))
        return max(0.0, float(1.0 - first @ second / np.sqrt((first @ first) * (second @ second))))

    return Metric("CLIP distance", 4, distance, np.positive)
