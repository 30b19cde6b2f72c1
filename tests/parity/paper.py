"""The diffusion process written from the papers alone, in fifty digits, as a reference for every implementation.

Nothing here is taken from the three implementations. The posterior comes from Bayes'
rule for two Gaussians, not from the formula that the papers simplify it to.
"""

from __future__ import annotations

from fractions import Fraction

import mpmath
import numpy as np
from mpmath import mpf

DIGITS = 50


@mpmath.workdps(DIGITS)
def cosine_schedule(timesteps: int, offset: float, beta_min: float, beta_max: float) -> tuple[np.ndarray, np.ndarray]:
    """Betas and alphas_cumprod, float64 (timesteps,): Nichol & Dhariwal 2021, equation 17, betas clipped."""

    def f(u: mpf) -> mpf:
        return mpmath.cos((u + offset) / (1 + mpf(offset)) * mpmath.pi / 2) ** 2

    betas = [1 - f(mpf(i + 1) / timesteps) / f(mpf(i) / timesteps) for i in range(timesteps)]
    betas = [min(max(beta, mpf(beta_min)), mpf(beta_max)) for beta in betas]
    products, product = [], mpf(1)
    for beta in betas:
        product *= 1 - beta
        products.append(product)
    return _rounded(betas), _rounded(products)


@mpmath.workdps(DIGITS)
def levels(alphas_cumprod: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """√ᾱ and √(1 - ᾱ), float64, of float64 alphas_cumprod taken as exact."""
    exact = [mpf(value) for value in alphas_cumprod.tolist()]
    return _rounded(map(mpmath.sqrt, exact)), _rounded(mpmath.sqrt(1 - value) for value in exact)


def trailing_timesteps(total: int, steps: int) -> np.ndarray:
    """int64 (steps,), falling: round((steps - i) · total / steps) - 1 (Lin et al. 2024, table 2), in whole numbers."""
    return np.array([round(Fraction((steps - i) * total, steps)) - 1 for i in range(steps)], np.int64)


@mpmath.workdps(DIGITS)
def step_table(alphas_cumprod: np.ndarray, t: np.ndarray, sampler: str, eta: float) -> np.ndarray:
    """float64 (steps, 3): weights of x0 and of x_t in the mean of each step, and the deviation of its noise.

    t: falling timesteps; from the last one the step lands on ᾱ = 1.
    """
    now = [mpf(alphas_cumprod[i].item()) for i in t]
    rows = []
    for index, alpha_bar in enumerate(now):
        after = now[index + 1] if index + 1 < len(now) else mpf(1)
        row = _posterior(alpha_bar, after) if sampler == "ddpm" else _ddim(alpha_bar, after, eta)
        rows.append(_rounded(row))
    return np.array(rows)


def _posterior(alpha_bar: mpf, after: mpf) -> tuple[mpf, mpf, mpf]:
    """q(x_s | x_t, x0) from x_s ~ N(√ᾱ_s x0, 1 - ᾱ_s) and x_t ~ N(√α x_s, 1 - α), α = ᾱ_t / ᾱ_s, by Bayes' rule."""
    if after == 1:  # x_s is x0 itself, whatever x_t is
        return mpf(1), mpf(0), mpf(0)
    alpha = alpha_bar / after
    variance = 1 / (alpha / (1 - alpha) + 1 / (1 - after))
    return (
        variance * mpmath.sqrt(after) / (1 - after),
        variance * mpmath.sqrt(alpha) / (1 - alpha),
        mpmath.sqrt(variance),
    )


def _ddim(alpha_bar: mpf, after: mpf, eta: float) -> tuple[mpf, mpf, mpf]:
    """Song, Meng & Ermon 2021, equations 12 and 16, with eps = (x_t - √ᾱ_t x0) / √(1 - ᾱ_t)."""
    sigma = mpf(eta) * mpmath.sqrt((1 - after) / (1 - alpha_bar)) * mpmath.sqrt(1 - alpha_bar / after)
    from_eps = mpmath.sqrt(1 - after - sigma**2)
    from_x_t = from_eps / mpmath.sqrt(1 - alpha_bar)
    return mpmath.sqrt(after) - from_x_t * mpmath.sqrt(alpha_bar), from_x_t, sigma


def _rounded(values) -> np.ndarray:
    return np.array([float(value) for value in values])
