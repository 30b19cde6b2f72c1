"""The cosine schedule against its formula in exact arithmetic."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest

from jax_impl.diffusion.gaussian import DiffusionConfig, cosine_alphas_cumprod


def test_against_the_formula_in_fifty_digits() -> None:
    mpmath.mp.dps = 50
    steps, s = 1000, mpmath.mpf("0.008")

    def f(i: int) -> mpmath.mpf:
        return mpmath.cos((mpmath.mpf(i) / steps + s) / (1 + s) * mpmath.pi / 2) ** 2

    product, expected = mpmath.mpf(1), []
    for i in range(steps):
        beta = min(max(1 - f(i + 1) / f(i), mpmath.mpf("0.0001")), mpmath.mpf("0.9999"))
        product *= 1 - beta
        expected.append(float(product))
    np.testing.assert_allclose(DiffusionConfig().create().alphas_cumprod, expected, rtol=1e-11)


def test_last_step_is_bounded_by_the_clip() -> None:
    values = DiffusionConfig().create().alphas_cumprod
    assert values.dtype == np.float64
    assert values[-1] == pytest.approx(2.4e-10, rel=0.02)
    assert 1 / math.sqrt(values[-1]) == pytest.approx(64_000, rel=0.01)


@pytest.mark.parametrize("steps", [2, 10, 1000])
def test_falls_and_stays_inside(steps: int) -> None:
    values = cosine_alphas_cumprod(steps, 0.008, 1e-4, 0.9999)
    assert values.shape == (steps,)
    assert np.all(np.diff(values) < 0)
    assert 0 < values[-1] < values[0] < 1
