"""Gaussian diffusion: x_t = √ᾱ_t · x0 + √(1 - ᾱ_t) · eps with the cosine schedule, and the three things to predict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
import numpy as np

from export.edge.choices import Prediction, Sampler, Spacing
from export.edge.sampling.spacing import check_steps
from export.edge.sampling.table import Plan, check_eta, coefficients, x0_weights
from jax_impl.config.checks import require
from jax_impl.diffusion.process import PROCESSES, Bound, Levels, Noised, Process, ProcessConfig, Published
from jax_impl.shapes import Array, Cond, Features, Float, Timesteps

ORIGINAL = "original"
"""The original script's loop: a sampler to compare with, which is never recommended."""


@dataclass(frozen=True)
class DiffusionConfig(ProcessConfig):
    """Gaussian diffusion: its schedule, what the network predicts, and how to sample from it."""

    process: Literal["gaussian"] = "gaussian"
    """Diffusion process: gaussian, one-pass, bridge, flow or a plugin's; another than the preset's has its own settings
    and defaults."""
    cosine_offset: float = 0.008
    """Offset s of the cosine schedule, 0 to below 1 (Nichol & Dhariwal 2021, eq. 17)."""
    beta_min: float = 1e-4
    """Least β of a timestep, above 0."""
    beta_max: float = 0.9999
    """Largest β of a timestep, below 1: it bounds 1/√ᾱ at the last one."""
    prediction: Prediction = "eps"
    """The network's target: the noise, the clean picture, or the velocity."""
    sampler: Sampler = "ddim"
    """Recommended sampler, stored with the weights."""
    spacing: Spacing = "trailing"
    """Recommended choice of timesteps, stored with the weights."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0.0 <= self.cosine_offset < 1.0, "diffusion.cosine_offset", self.cosine_offset, "choose 0 to below 1")
        require(
            0.0 < self.beta_min < self.beta_max < 1.0,
            "diffusion.beta_min",
            self.beta_min,
            f"it must lie between 0 and diffusion.beta_max ({self.beta_max}), which must be below 1",
        )

    def create(self, published: Published | None = None) -> GaussianProcess:
        """The process with the schedule of a bundle, or else with the cosine schedule of these settings."""
        if published is not None and published.alphas_cumprod is not None:
            return GaussianProcess(self, published.alphas_cumprod)
        schedule = cosine_alphas_cumprod(self.timesteps, self.cosine_offset, self.beta_min, self.beta_max)
        return GaussianProcess(self, schedule)


PROCESSES.add("gaussian", DiffusionConfig)


def cosine_alphas_cumprod(timesteps: int, offset: float, beta_min: float, beta_max: float) -> np.ndarray:
    """ᾱ of the cosine schedule (Nichol & Dhariwal 2021, eq. 17), as float64 (timesteps,), falling from about 1.

    f(u) = cos²((u + s)/(1 + s) · π/2); β_t = 1 - f((t+1)/T)/f(t/T), clipped to
    [beta_min, beta_max]; ᾱ_t = ∏(1 - β). The clip bounds 1/√ᾱ at the last step.
    """
    u = np.arange(timesteps + 1, dtype=np.float64) / timesteps
    f = np.cos((u + offset) / (1.0 + offset) * np.pi / 2.0) ** 2
    betas = np.clip(1.0 - f[1:] / f[:-1], beta_min, beta_max)
    return np.cumprod(1.0 - betas)


class GaussianProcess(Process):
    """Gaussian diffusion by a schedule ᾱ, float64 (T,), strictly falling inside (0, 1)."""

    def __init__(self, config: DiffusionConfig, alphas_cumprod: np.ndarray) -> None:
        self.config = config
        self.alphas_cumprod = alphas_cumprod
        self.timesteps = len(alphas_cumprod)
        # Square roots taken in float64, where 1 - ᾱ keeps its digits near t = 0.
        self._signal, self._noise = np.sqrt(alphas_cumprod), np.sqrt(1.0 - alphas_cumprod)

    def corrupt(self, x0: Features, cond: Cond, t: Timesteps, noise: Features) -> Noised:
        """A sample of q(x_t | x0) for standard normal noise (Ho et al. 2020, eq. 4)."""
        signal, share = self._levels(t, x0.dtype)
        from_output = {"eps": -share / signal, "x0": jnp.ones_like(signal), "v": -share}[self.config.prediction]
        return Noised(signal * x0 + share * noise, t, noise, Levels(signal, share, from_output))

    def target(self, x0: Features, noised: Noised) -> Features:
        """eps, x0, or v = √ᾱ eps - √(1-ᾱ) x0 (Salimans & Ho 2022, appendix D)."""
        if self.config.prediction == "eps":
            return noised.noise
        if self.config.prediction == "x0":
            return x0
        return noised.levels.signal * noised.noise - noised.levels.noise * x0

    def to_x0(self, output: Features, x_t: Features, t: Timesteps) -> Features:
        """The clean picture that a network's output stands for, unclamped."""
        signal, noise = self._levels(t, x_t.dtype)
        if self.config.prediction == "eps":
            return (x_t - noise * output) / signal
        if self.config.prediction == "x0":
            return output
        return signal * x_t - noise * output

    def plan(self, steps: int, sampler: str, eta: float = 0.0, *, spacing: str = "trailing") -> Plan:
        """The table of a sampler of `export.edge.sampling.table`, or of ORIGINAL."""
        if sampler == ORIGINAL:
            return _original_plan(self.alphas_cumprod, steps, eta, self.config.prediction)
        return coefficients(
            self.alphas_cumprod, steps, sampler, eta, prediction=self.config.prediction, spacing=spacing
        )

    def bound(self, sampler: str) -> Bound:
        """That of the settings; ORIGINAL bounds nothing."""
        return Bound(None) if sampler == ORIGINAL else Bound(self.config.clamp, self.config.threshold)

    def published(self) -> Published:
        """The schedule."""
        return Published(alphas_cumprod=self.alphas_cumprod)

    def _levels(
        self, t: Timesteps, dtype: jnp.dtype
    ) -> tuple[Float[Array, "batch 1 1 1"], Float[Array, "batch 1 1 1"]]:
        """√ᾱ and √(1-ᾱ) at timesteps t (batch,), each (batch, 1, 1, 1)."""
        signal, noise = jnp.asarray(self._signal, dtype), jnp.asarray(self._noise, dtype)
        return signal[t][:, None, None, None], noise[t][:, None, None, None]


def _original_plan(alphas_cumprod: np.ndarray, steps: int, eta: float, prediction: str) -> Plan:
    """The original script's loop: the step from t to t-1 (Ho et al. 2020, algorithm 2, σ² = β), wherever t goes next.

    x_next = (x - β_t/√(1-ᾱ_t) eps) / √α_t + √β_t z at t = linspace(T-1, 0, steps), cut off to
    whole numbers; no noise at t = 0. With x = √ᾱ_t x0_hat + √(1-ᾱ_t) eps that is
    √ᾱ_{t-1} x0_hat + √α_t (1-ᾱ_{t-1})/√(1-ᾱ_t) eps + √β_t z, because 1-ᾱ_t-β_t = α_t (1-ᾱ_{t-1}).
    """
    check_eta(ORIGINAL, eta)
    check_steps(len(alphas_cumprod), steps)
    last = len(alphas_cumprod) - 1
    # In whole numbers: in floating point each library's linspace cuts some timesteps one too low.
    t = last + (-last * np.arange(steps)) // max(steps - 1, 1)
    now, before = alphas_cumprod[t], np.append(1.0, alphas_cumprod)[t]
    alpha = now / before
    from_x = np.sqrt(alpha) * (1.0 - before) / (1.0 - now)
    x0_from_x, x0_from_output = x0_weights(prediction, now)
    return Plan.from_columns(
        {
            "t": t,
            "x0_from_x": x0_from_x,
            "x0_from_output": x0_from_output,
            "next_from_x0": np.sqrt(before) - from_x * np.sqrt(now),
            "next_from_x": from_x,
            "noise": np.where(t > 0, np.sqrt(1.0 - alpha), 0.0),
        }
    )
