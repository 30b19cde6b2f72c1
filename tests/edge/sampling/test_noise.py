"""The noise: Philox by its published vectors, the normal numbers by their properties."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest

from export.edge.errors import UserError
from export.edge.sampling.noise import normal, philox

# Random123 1.14.0, tests/kat_vectors, the lines of philox4x32 with 10 rounds: counter, key, result.
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN_ANSWERS)
def test_philox_gives_the_published_answers(counter: str, key: str, result: str) -> None:
    k0, k1 = words(key)
    found = philox([np.array([word], np.uint64) for word in words(counter)], (k0, k1))
    assert [int(lane[0]) for lane in found] == words(result)


def test_the_documented_layout_gives_each_element() -> None:
    """One element at a time, with Python's own integers and libm, from the layout in the module's docstring."""
    seed, stream = 0xA4093822_299F31D0, 7
    found = normal(seed, stream, (11,))
    for k in range(11):
        counter = [np.array([word], np.uint64) for word in (k // 4, 0, stream, 0)]
        w = [int(lane[0]) for lane in philox(counter, (seed % 2**32, seed // 2**32))]
        first = 2 * (k % 4 // 2)
        radius = math.sqrt(-2 * math.log((w[first] + 0.5) / 2**32))
        angle = 2 * math.pi * w[first + 1] / 2**32
        assert found[k] == pytest.approx(radius * (math.sin if k % 2 else math.cos)(angle), rel=1e-6, abs=1e-7)


def test_the_high_words_of_seed_and_stream_count() -> None:
    arrays = [normal(seed, stream, (64,)) for seed in (1, 1 + 2**32) for stream in (1, 1 + 2**32)]
    assert len({array.tobytes() for array in arrays}) == 4


def test_numbers_never_change() -> None:
    """An artifact's pictures are promised for a seed: these bytes are the promise.

    The digest was taken of the same 4096 numbers evaluated from the same Philox words with
    120-bit arithmetic (mpmath) and rounded to float32 once.
    """
    data = normal(2024, 3, (4096,)).astype("<f4").tobytes()
    assert hashlib.sha256(data).hexdigest() == "25653d9c0b13669ee0cd21155d68dd22801425618893030a0ea30241b3156162"


def test_a_longer_array_begins_with_the_shorter_one() -> None:
    long = normal(5, 0, (1, 9, 7, 3))
    assert long.dtype == np.float32 and long.shape == (1, 9, 7, 3)
    for count in (0, 1, 2, 3, 5, 100):
        np.testing.assert_array_equal(normal(5, 0, (count,)), long.ravel()[:count])


def test_any_part_of_a_long_array_is_found_from_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = normal(5, 3, (1000,))
    monkeypatch.setattr("export.edge.sampling.noise._AT_ONCE", 7)
    np.testing.assert_array_equal(normal(5, 3, (1000,)), whole)


def test_moments_and_shape_of_the_distribution() -> None:
    x = normal(0, 0, (400_000,)).astype(np.float64)
    error = 5 / math.sqrt(x.size)  # five standard errors
    assert abs(x.mean()) < error
    assert abs((x**2).mean() - 1) < error * math.sqrt(2)
    assert abs((x**3).mean()) < error * math.sqrt(15)
    assert abs((x**4).mean() - 3) < error * math.sqrt(96)
    expected = np.array([0.5 * (1 + math.erf(edge / math.sqrt(2))) for edge in np.linspace(-4, 4, 81)])
    found = np.searchsorted(np.sort(x), np.linspace(-4, 4, 81)) / x.size
    assert np.abs(found - expected).max() < 1.95 / math.sqrt(x.size)  # Kolmogorov-Smirnov at 0.1 %


@pytest.mark.parametrize("lag", [1, 2, 3, 4, 5])
def test_neighbours_in_an_array_do_not_correlate(lag: int) -> None:
    x = normal(3, 0, (200_000,)).astype(np.float64)
    assert abs((x[lag:] * x[:-lag]).mean()) < 5 / math.sqrt(x.size)


@pytest.mark.parametrize(("a", "b"), [((0, 0), (0, 1)), ((0, 0), (1, 0)), ((0, 1), (1, 0)), ((9, 41), (9, 42))])
def test_streams_and_seeds_are_independent(a: tuple[int, int], b: tuple[int, int]) -> None:
    x, y = (normal(*pair, (100_000,)).astype(np.float64) for pair in (a, b))
    assert abs((x * y).mean()) < 5 / math.sqrt(x.size)
    assert abs((x**2 * y**2).mean() - 1) < 5 * math.sqrt(8) / math.sqrt(x.size)


@pytest.mark.parametrize(("seed", "stream"), [(-1, 0), (2**64, 0), (0, -1), (0, 2**64)])
def test_a_seed_or_stream_out_of_range_is_an_error(seed: int, stream: int) -> None:
    with pytest.raises(UserError, match="outside"):
        normal(seed, stream, (3,))
