"""The cosine schedule as the paper has it, for every suite: none of the packages is asked."""

from __future__ import annotations

import numpy as np


def cosine_schedule(total: int = 1000) -> np.ndarray:
    """alphas_cumprod of Nichol and Dhariwal 2021, equation 17, s = 0.008, betas clipped to [1e-4, 0.9999]."""
    f = np.cos((np.arange(total + 1) / total + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.cumprod(1.0 - np.clip(1.0 - f[1:] / f[:-1], 1e-4, 0.9999))
