"""CIELAB and CIEDE2000 against scikit-image and the pairs that the formula's authors published to test with."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.color import deltaE_ciede2000, rgb2lab

from export.edge.errors import UserError
from export.edge.metrics import color_drift, delta_e
from export.edge.metrics.color import ciede2000, from_lab, to_lab

# Sharma, Wu, Dalal 2005, table 1: two colours in CIELAB and their difference.
SHARMA = np.array(
    [
        [50.0000, 2.6772, -79.7751, 50.0000, 0.0000, -82.7485, 2.0425],
        [50.0000, 3.1571, -77.2803, 50.0000, 0.0000, -82.7485, 2.8615],
        [50.0000, 2.8361, -74.0200, 50.0000, 0.0000, -82.7485, 3.4412],
        [50.0000, -1.3802, -84.2814, 50.0000, 0.0000, -82.7485, 1.0000],
        [50.0000, -1.1848, -84.8006, 50.0000, 0.0000, -82.7485, 1.0000],
        [50.0000, -0.9009, -85.5211, 50.0000, 0.0000, -82.7485, 1.0000],
        [50.0000, 0.0000, 0.0000, 50.0000, -1.0000, 2.0000, 2.3669],
        [50.0000, -1.0000, 2.0000, 50.0000, 0.0000, 0.0000, 2.3669],
        [50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0009, 7.1792],
        [50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0010, 7.1792],
        [50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0011, 7.2195],
        [50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0012, 7.2195],
        [50.0000, -0.0010, 2.4900, 50.0000, 0.0009, -2.4900, 4.8045],
        [50.0000, -0.0010, 2.4900, 50.0000, 0.0010, -2.4900, 4.8045],
        [50.0000, -0.0010, 2.4900, 50.0000, 0.0011, -2.4900, 4.7461],
        [50.0000, 2.5000, 0.0000, 50.0000, 0.0000, -2.5000, 4.3065],
        [50.0000, 2.5000, 0.0000, 73.0000, 25.0000, -18.0000, 27.1492],
        [50.0000, 2.5000, 0.0000, 61.0000, -5.0000, 29.0000, 22.8977],
        [50.0000, 2.5000, 0.0000, 56.0000, -27.0000, -3.0000, 31.9030],
        [50.0000, 2.5000, 0.0000, 58.0000, 24.0000, 15.0000, 19.4535],
        [50.0000, 2.5000, 0.0000, 50.0000, 3.1736, 0.5854, 1.0000],
        [50.0000, 2.5000, 0.0000, 50.0000, 3.2972, 0.0000, 1.0000],
        [50.0000, 2.5000, 0.0000, 50.0000, 1.8634, 0.5757, 1.0000],
        [50.0000, 2.5000, 0.0000, 50.0000, 3.2592, 0.3350, 1.0000],
        [60.2574, -34.0099, 36.2677, 60.4626, -34.1751, 39.4387, 1.2644],
        [63.0109, -31.0961, -5.8663, 62.8187, -29.7946, -4.0864, 1.2630],
        [61.2901, 3.7196, -5.3901, 61.4292, 2.2480, -4.9620, 1.8731],
        [35.0831, -44.1164, 3.7933, 35.0232, -40.0716, 1.5901, 1.8645],
        [22.7233, 20.0904, -46.6940, 23.0331, 14.9730, -42.5619, 2.0373],
        [36.4612, 47.8580, 18.3852, 36.2715, 50.5065, 21.2231, 1.4146],
        [90.8027, -2.0831, 1.4410, 91.1528, -1.6435, 0.0447, 1.4441],
        [90.9257, -0.5406, -0.9208, 88.6381, -0.8985, -0.7239, 1.5381],
        [6.7747, -0.2908, -2.4247, 5.8714, -0.0985, -2.2286, 0.6377],
        [2.0776, 0.0795, -1.1350, 0.9033, -0.0636, -0.5514, 0.9082],
    ]
)


def noise(seed: int, height: int = 40, width: int = 30) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_the_authors_own_pairs() -> None:
    np.testing.assert_allclose(ciede2000(SHARMA[:, :3], SHARMA[:, 3:6]), SHARMA[:, 6], atol=5.1e-5)


def test_the_difference_is_that_of_scikit_image() -> None:
    a, b = rgb2lab(noise(0)), rgb2lab(noise(1))
    np.testing.assert_allclose(ciede2000(a, b), deltaE_ciede2000(a, b), atol=1e-9)
    expected = deltaE_ciede2000(a, b).mean()
    assert delta_e(noise(0), noise(1)) == pytest.approx(expected, abs=1e-3)


def test_lab_is_that_of_scikit_image_and_comes_back() -> None:
    every = np.concatenate([np.arange(256, dtype=np.uint8)[:, None, None].repeat(3, 2), noise(2, 256, 20)], axis=1)
    np.testing.assert_allclose(to_lab(every), rgb2lab(every), atol=1e-3)
    np.testing.assert_array_equal(from_lab(to_lab(every)), every)


def test_colours_outside_srgb_are_clipped() -> None:
    assert from_lab(np.array([[[120.0, 0.0, 0.0], [-5.0, 0.0, 0.0]]])).tolist() == [[[255] * 3, [0] * 3]]


@given(st.integers(0, 2**32 - 1))
def test_equal_pictures_differ_by_nothing_and_order_does_not_matter(seed: int) -> None:
    a, b = noise(seed, 4, 4), noise(seed + 1, 4, 4)
    assert delta_e(a, a) == 0.0
    assert delta_e(a, b) == pytest.approx(delta_e(b, a), abs=1e-9)


def test_drift_is_the_shift_of_each_channel() -> None:
    a = noise(3) // 2
    assert color_drift(a + np.array([3, 0, 1], np.uint8), a) == pytest.approx((3.0, 0.0, 1.0))
    assert color_drift(a, a + np.uint8(2)) == pytest.approx((-2.0, -2.0, -2.0))


def test_pictures_that_cannot_be_compared() -> None:
    with pytest.raises(UserError, match="different sizes"):
        delta_e(noise(0), noise(0)[:9])
    with pytest.raises(UserError, match="must be uint8"):
        color_drift(noise(0) / 255.0, noise(0))
