"""The cosine noise schedule, computed once, in float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jax_impl.config.tree import DiffusionConfig


def cosine_alphas_cumprod(timesteps: int, offset: float, beta_min: float, beta_max: float) -> np.ndarray:
    """ᾱ of the cosine schedule (Nichol & Dhariwal 2021, eq. 17), as float64 (timesteps,), falling from about 1.

    f(u) = cos²((u + s)/(1 + s) · π/2); β_t = 1 - f((t+1)/T)/f(t/T), clipped to
    [beta_min, beta_max]; ᾱ_t = ∏(1 - β). The clip bounds 1/√ᾱ at the last step.
    """
    u = np.arange(timesteps + 1, dtype=np.float64) / timesteps
    f = np.cos((u + offset) / (1.0 + offset) * np.pi / 2.0) ** 2
    betas = np.clip(1.0 - f[1:] / f[:-1], beta_min, beta_max)
    return np.cumprod(1.0 - betas)


def alphas_cumprod(config: DiffusionConfig) -> np.ndarray:
    """ᾱ that the config asks for, float64 (config.timesteps,)."""
    return cosine_alphas_cumprod(config.timesteps, config.cosine_offset, config.beta_min, config.beta_max)


@dataclass(frozen=True)
class Levels:
    """Signal √ᾱ_t and noise √(1 - ᾱ_t) of every timestep, float64 (timesteps,) until they meet pictures."""

    signal: np.ndarray
    noise: np.ndarray

    @staticmethod
    def of(alphas_cumprod: np.ndarray) -> Levels:
        """Square roots taken in float64, where 1 - ᾱ keeps its digits near t = 0."""
        return Levels(np.sqrt(alphas_cumprod), np.sqrt(1.0 - alphas_cumprod))
