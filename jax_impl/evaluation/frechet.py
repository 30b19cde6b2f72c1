"""FID and KID, from weights that the user points to: features of Inception v3 in plain JAX, distances of two sets.

The file is safetensors, made from pytorch-fid's `.pth` by `python -m torch_ref.perceptual`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from export.edge.pictures.arrays import to_float
from jax_impl.perceptual.layers import conv, max_pool
from jax_impl.perceptual.weights import Weights, check_weights, read_weights

INCEPTION_FORMAT = "inception"
SIDE = 299
"""Pictures are brought to this before the network sees them, pixels."""
Features = Callable[[np.ndarray], np.ndarray]
"""uint8 pictures (pictures, height, width, 3) to float64 (pictures, features)."""
_SMALLEST_SIDE = 75
_BATCH = 8


def open_inception(path: Path) -> Features:
    """A function from uint8 pictures (pictures, height, width, 3) to float64 features (pictures, 2048).

    Raises UserError for a file that is not one of Inception weights, is damaged or does not fill the network.
    """
    weights = read_weights(path, INCEPTION_FORMAT, "--fid")
    check_weights(path, inception, weights, (1, _SMALLEST_SIDE, _SMALLEST_SIDE, 3))

    @jax.jit
    def features(weights: Weights, pictures: jax.Array) -> jax.Array:
        size = (len(pictures), SIDE, SIDE, 3)
        return inception(weights, jax.image.resize(pictures, size, "bilinear", antialias=False))

    def of_pictures(pictures: np.ndarray) -> np.ndarray:
        count = len(pictures)
        # The last batch is filled up, so that one compiled program serves all.
        slots = np.minimum(np.arange(-(-count // _BATCH) * _BATCH), count - 1).reshape(-1, _BATCH)
        rows = [np.asarray(features(weights, to_float(pictures[row])), np.float64) for row in slots]
        return np.concatenate(rows)[:count]

    return of_pictures


def inception(weights: Weights, x: jax.Array) -> jax.Array:
    """Pooled features of FID's Inception v3: (batch, height, width, 3) in [-1, 1] to (batch, 2048).

    Szegedy et al. 2016, with the quirks of the network ported from TensorFlow's 2015 graph
    (as in pytorch-fid): average pooling leaves out the border, and the last block pools
    by maximum. Batch normalisation is folded into the convolutions.
    """
    unit = functools.partial(_unit, weights)

    def chain(x: jax.Array, *names: str, last_stride: int = 1) -> jax.Array:
        for name in names[:-1]:
            x = unit(x, name)
        return unit(x, names[-1], last_stride, valid=last_stride > 1)

    def numbered(block: str, branch: str, count: int) -> list[str]:
        return [f"{block}.{branch}_{i}" for i in range(1, count + 1)]

    def join(*branches: jax.Array) -> jax.Array:
        return jnp.concatenate(branches, axis=-1)

    x = unit(x, "Conv2d_1a_3x3", 2, valid=True)
    x = unit(x, "Conv2d_2a_3x3", valid=True)
    x = max_pool(unit(x, "Conv2d_2b_3x3"), 2)
    x = unit(x, "Conv2d_3b_1x1")
    x = max_pool(unit(x, "Conv2d_4a_3x3", valid=True), 2)
    for block in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
        x = join(
            unit(x, f"{block}.branch1x1"),
            chain(x, *numbered(block, "branch5x5", 2)),
            chain(x, *numbered(block, "branch3x3dbl", 3)),
            unit(_mean_pool(x), f"{block}.branch_pool"),
        )
    x = join(
        unit(x, "Mixed_6a.branch3x3", 2, valid=True),
        chain(x, *numbered("Mixed_6a", "branch3x3dbl", 3), last_stride=2),
        max_pool(x, 2),
    )
    for block in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
        x = join(
            unit(x, f"{block}.branch1x1"),
            chain(x, *numbered(block, "branch7x7", 3)),
            chain(x, *numbered(block, "branch7x7dbl", 5)),
            unit(_mean_pool(x), f"{block}.branch_pool"),
        )
    x = join(
        chain(x, *numbered("Mixed_7a", "branch3x3", 2), last_stride=2),
        chain(x, *numbered("Mixed_7a", "branch7x7x3", 4), last_stride=2),
        max_pool(x, 2),
    )
    for block, pooled in (("Mixed_7b", _mean_pool), ("Mixed_7c", lambda x: max_pool(x, 1))):
        once = unit(x, f"{block}.branch3x3_1")
        twice = chain(x, *numbered(block, "branch3x3dbl", 2))
        x = join(
            unit(x, f"{block}.branch1x1"),
            *(unit(once, f"{block}.branch3x3_2{side}") for side in "ab"),
            *(unit(twice, f"{block}.branch3x3dbl_3{side}") for side in "ab"),
            unit(pooled(x), f"{block}.branch_pool"),
        )
    return x.mean(axis=(1, 2))


def _unit(weights: Weights, x: jax.Array, name: str, stride: int = 1, valid: bool = False) -> jax.Array:
    """A convolution, padded unless `valid`, and its ReLU."""
    kernel = weights[f"{name}.weight"]
    pads = [(0, 0) if valid else (side // 2, side // 2) for side in kernel.shape[2:]]
    return jax.nn.relu(conv(x, kernel, weights[f"{name}.bias"], stride, pads))


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Fréchet distance of the Gaussians fitted to two sets of features, (samples, features), two samples or more each.

    |μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2 (Σ₁ Σ₂)^½) (Dowson, Landau 1982; Heusel et al. 2017), in float64. With
    Σ = AᵀA, the eigenvalues of Σ₁ Σ₂ are those of the symmetric M Mᵀ, M = A₁ A₂ᵀ, so the
    root's trace is the sum of M's singular values, and no root of a singular matrix is taken.
    """
    roots = []
    for features in (first, second):
        centred = (features - features.mean(axis=0)) / np.sqrt(len(features) - 1)
        roots.append(np.linalg.qr(centred.astype(np.float64), mode="r"))
    apart = first.mean(axis=0) - second.mean(axis=0)
    traces = sum(float((root**2).sum()) for root in roots)
    return float(apart @ apart + traces - 2.0 * np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum())


def kernel_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Unbiased squared maximum mean discrepancy of two sets of features, (samples, features), two or more each: KID.

    Its kernel is (xᵀy / features + 1)³ (Bińkowski et al. 2018, section 4). Unlike FID it does not grow as sets get
    smaller, and may be below 0 for sets that are alike.
    """
    first, second = first.astype(np.float64), second.astype(np.float64)

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / a.shape[1] + 1.0) ** 3

    def within(features: np.ndarray) -> float:
        values, count = kernel(features, features), len(features)
        return float((values.sum() - np.trace(values)) / (count * (count - 1)))

    return within(first) + within(second) - 2.0 * float(kernel(first, second).mean())


def _mean_pool(x: jax.Array) -> jax.Array:
    """Over those of 3 x 3 places that lie inside."""

    def total(x: jax.Array) -> jax.Array:
        return lax.reduce_window(x, 0.0, lax.add, (1, 3, 3, 1), (1, 1, 1, 1), "SAME")

    return total(x) / total(jnp.ones((1, *x.shape[1:3], 1), x.dtype))
