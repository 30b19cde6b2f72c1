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


@mpmath.workdps(DIGITS)
def timesteps(alphas_cumprod: np.ndarray, steps: int, spacing: str = "trailing") -> np.ndarray:
    """int64 (steps,), falling: Lin et al. 2024, table 2, from 0, in whole numbers; or even in log SNR.

    "logsnr" starts at T - 1, and counts from log SNR -10.2 at least to that of t = 0, which
    is not reached. A timestep that is nearest to two goes to the first of them.
    """
    total, left = len(alphas_cumprod), range(steps, 0, -1)
    if spacing == "trailing":
        return np.array([round(Fraction(i * total, steps)) - 1 for i in left], np.int64)
    if spacing == "leading":
        return np.array([(i - 1) * (total // steps) for i in left], np.int64)
    if spacing == "linspace":
        return np.array([round(Fraction((i - 1) * (total - 1), steps - 1)) for i in left], np.int64)
    log_snr = [mpmath.log(mpf(a) / (1 - mpf(a))) for a in alphas_cumprod.tolist()]
    start = max(log_snr[-1], mpf("-10.2"))
    chosen = [total - 1]
    for i in range(1, steps):
        wanted = start + (log_snr[0] - start) * i / steps
        free = range(steps - 1 - i, chosen[-1])
        chosen.append(min(free, key=lambda t: abs(log_snr[t] - wanted)))
    return np.array(chosen, np.int64)


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


def visited(t: np.ndarray, sampler: str) -> list[int]:
    """The timestep of each call on the grid t: "heun" asks again where each step but the first and last arrives."""
    steps = len(t)
    twice = [[now, t[i + 1]] if sampler == "heun" and 0 < i < steps - 1 else [now] for i, now in enumerate(t)]
    return [int(now) for step in twice for now in step]


@mpmath.workdps(DIGITS)
def walk(alphas_cumprod: np.ndarray, t: np.ndarray, sampler: str, start: np.ndarray, x0: np.ndarray) -> np.ndarray:
    """The state after each call, float64 like x0: (calls, ...), from `start` (...) when the network leads to those x0.

    "dpmpp" is algorithm 2 of Lu et al. 2022 (DPM-Solver++), "heun" algorithm 1 of Karras et
    al. 2022 over σ/α; both take a first-order step first and last. α = √ᾱ, σ = √(1-ᾱ).
    """
    bars = [mpf(alphas_cumprod[i].item()) for i in t] + [mpf(1)]
    alpha, sigma = [mpmath.sqrt(a) for a in bars], [mpmath.sqrt(1 - a) for a in bars]
    estimates = [_exact(estimate) for estimate in x0]
    x, states, call, last = _exact(start), [], 0, len(t) - 1
    for i in range(len(t)):
        now, x_before = estimates[call], x
        if sampler == "dpmpp" and 0 < i < last:
            log = [mpmath.log(alpha[j] / sigma[j]) for j in (i - 1, i, i + 1)]
            h, r = log[2] - log[1], (log[1] - log[0]) / (log[2] - log[1])
            mixed = (1 + 1 / (2 * r)) * now - 1 / (2 * r) * estimates[call - 1]
            x = sigma[i + 1] / sigma[i] * x - alpha[i + 1] * (mpmath.exp(-h) - 1) * mixed
        else:
            x = alpha[i + 1] * now + sigma[i + 1] * (x - alpha[i] * now) / sigma[i]
        states.append(x)
        call += 1
        if sampler == "heun" and 0 < i < last:
            here = (x_before / alpha[i] - now) / (sigma[i] / alpha[i])
            there = (x / alpha[i + 1] - estimates[call]) / (sigma[i + 1] / alpha[i + 1])
            way = sigma[i + 1] / alpha[i + 1] - sigma[i] / alpha[i]
            x = alpha[i + 1] * (x_before / alpha[i] + way * (here + there) / 2)
            states.append(x)
            call += 1
    return np.array(states).astype(np.float64)


def bounded(x0_hat: np.ndarray, clamp: float, threshold: float) -> np.ndarray:
    """x0_hat (pictures, ...) cut off at ±clamp, or (Saharia et al. 2022, section 2.3) shrunk until that share fits."""
    bound = []
    for picture in x0_hat:
        ordered, place = np.sort(np.abs(picture).ravel()), Fraction(threshold) * (picture.size - 1)
        below = int(place)
        above = min(below + 1, picture.size - 1)
        quantile = ordered[below] + float(place - below) * (ordered[above] - ordered[below])
        bound.append(max(clamp, quantile) if threshold else clamp)
    s = np.array(bound).reshape(-1, *[1] * (x0_hat.ndim - 1))
    return np.clip(x0_hat, -s, s) / s * clamp


def _exact(values: np.ndarray) -> np.ndarray:
    """An array of exact numbers with DIGITS digits."""
    return np.vectorize(lambda value: mpf(float(value)), otypes=[object])(values)


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
