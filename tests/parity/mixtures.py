"""Pixels whose best denoiser and whose probability flow are known in closed form: mixtures of Gaussians.

The flow keeps the order of numbers on a line, so it takes each quantile of the noised distribution to the same quantile
of the clean one (Song et al. 2021, "Score-based generative modeling", section 4.3, in one dimension): its exact
solution is known without solving anything.
"""

from __future__ import annotations

import numpy as np
import torch

TARGETS = {
    "gaussian": (np.array([1.0]), np.array([0.3]), np.array([0.3])),
    "mixture": (np.array([0.3, 0.7]), np.array([-0.5, 0.4]), np.array([0.15, 0.2])),
}
"""Weights, means and deviations of x0."""


def best_x0(target: str, signal: float, noise: float, x: np.ndarray) -> np.ndarray:
    """The mean of x0 given signal x0 + noise eps = x, whatever its shape: in closed form, by Bayes' rule."""
    weights, means, deviations = TARGETS[target]
    x = x[..., None]
    variance = (signal * deviations) ** 2 + noise**2
    log = np.log(weights) - (x - signal * means) ** 2 / variance / 2.0 - np.log(variance) / 2.0
    share = np.exp(log - log.max(axis=-1, keepdims=True))
    x0 = means + signal * deviations**2 / variance * (x - signal * means)
    return (share * x0).sum(axis=-1) / share.sum(axis=-1)


def share_below(target: str, signal: float, noise: float, x: np.ndarray) -> np.ndarray:
    """The distribution function of signal x0 + noise eps."""
    weights, means, deviations = TARGETS[target]
    z = (x[..., None] - signal * means) / np.sqrt((signal * deviations) ** 2 + noise**2)
    return (weights * torch.special.ndtr(torch.from_numpy(z)).numpy()).sum(axis=-1)


def quantile(target: str, wanted: np.ndarray) -> np.ndarray:
    """x0 below which there is that share of the target, by bisection."""
    low, high = np.full(wanted.shape, -4.0), np.full(wanted.shape, 4.0)
    for _ in range(60):
        middle = (low + high) / 2.0
        below = share_below(target, 1.0, 0.0, middle) < wanted
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2.0
