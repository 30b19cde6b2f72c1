"""Which of the T timesteps a sampler visits."""

from __future__ import annotations

import numpy as np

from export.edge.choices import SPACINGS
from export.edge.errors import UserError

LEAST_LOG_SNR = -10.2
"""Where "logsnr" begins to count: twice the -5.1 to which the code of Lu et al. 2022 (DPM-Solver) clips lambda.

Below it, at 0.6 % of the noise, the picture cannot be seen, yet more than a third of a cosine schedule's range lies
there."""


def timesteps(alphas_cumprod: np.ndarray, steps: int, spacing: str = "trailing") -> np.ndarray:
    """int64 (steps,), strictly falling timesteps out of 0 ... T-1, for alphas_cumprod float64 (T,).

    The first three are those of Lin et al. 2024, table 2, counted from 0:

    - "trailing": T-1, and down by T / steps; the last step is as long as the others.
    - "linspace": evenly from T-1 down to 0, both visited.
    - "leading": multiples of T // steps, from 0 up. It begins below T-1, where pure noise
      is not what the network expects (their section 3.3), the more so in few steps, and
      ends at 0, whose step to a clean picture changes next to nothing. It is there to
      compare with.
    - "logsnr": T-1, and up evenly in log(a / (1 - a)) from there or from LEAST_LOG_SNR
      (as Lu et al. 2022, DPM-Solver, do), each at the nearest timestep or, when that is taken,
      the next one below; like "trailing" it leaves the end of the range to the last step.

    Raises UserError when `steps` is outside 1 ... T, and for an unknown spacing.
    """
    total = len(alphas_cumprod)
    if spacing not in SPACINGS:
        raise UserError(f"spacing {spacing!r} is unknown; choose one of {', '.join(SPACINGS)}")
    check_steps(total, steps)
    left = np.arange(steps, 0, -1, dtype=np.int64)
    # In whole numbers: in floating point the halves fall to either side, and numpy's arange(total, 0, -total / steps)
    # is one too long for many step counts.
    if spacing == "trailing":
        return _rounded_quotient(left * total, steps) - 1
    if spacing == "linspace":
        return _rounded_quotient((left - 1) * (total - 1), steps - 1) if steps > 1 else np.array([total - 1])
    if spacing == "leading":
        return (left - 1) * (total // steps)
    return _even_in_log_snr(alphas_cumprod, steps)


def check_steps(total: int, steps: int) -> None:
    """Raise UserError when `steps` is outside 1 ... total."""
    if not 1 <= steps <= total:
        raise UserError(f"steps {steps} is outside 1 ... {total}; choose a number inside")


def _rounded_quotient(numerator: np.ndarray, divisor: int) -> np.ndarray:
    """numerator / divisor, halves to the even side."""
    whole, rest = np.divmod(numerator, divisor)
    return whole + ((2 * rest > divisor) | ((2 * rest == divisor) & (whole % 2 == 1)))


def _even_in_log_snr(alphas_cumprod: np.ndarray, steps: int) -> np.ndarray:
    log_snr = np.log(alphas_cumprod) - np.log1p(-alphas_cumprod)
    start = min(max(log_snr[-1], LEAST_LOG_SNR), log_snr[0])
    index = np.arange(steps)
    wanted = start + (log_snr[0] - start) * index / steps
    # By bisection, as log_snr never rises: a table of all differences would have steps * T entries.
    below = np.minimum(np.searchsorted(-log_snr, -wanted), len(log_snr) - 1)
    above = np.searchsorted(-log_snr, -log_snr[np.maximum(below - 1, 0)])
    nearest = np.where(np.abs(log_snr[above] - wanted) <= np.abs(log_snr[below] - wanted), above, below)
    nearest[0] = len(alphas_cumprod) - 1
    # t falls strictly where t + index does not rise; and step i leaves a timestep for each of those behind it.
    return np.maximum(np.minimum.accumulate(nearest + index), steps - 1) - index
