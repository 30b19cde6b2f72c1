"""Gaussian noise that is the same, bit for bit, on every machine and in every language.

The numbers of one array are found from their place alone, without a running state:

    key     = (seed mod 2^32, seed div 2^32)
    counter = (block mod 2^32, block div 2^32, stream mod 2^32, stream div 2^32)
    words   = Philox4x32-10(counter, key)          four uint32, w0 w1 w2 w3

with element k (row-major) of the array in lane k mod 4 of block k div 4. Lanes 0 and 1
are the cosine and the sine of the Box-Muller pair of (w0, w1), lanes 2 and 3 those of
(w2, w3):

    r = sqrt(-2 ln((w0 + 1/2) / 2^32)),  angle = 2 pi w1 / 2^32,  r cos(angle), r sin(angle)

all in float64, rounded to float32 at the end. The logarithm and the circular functions
of a C or JavaScript library may differ in their last bit from machine to machine; so
they are evaluated here by fixed polynomials, which use nothing but +, -, *, / and the
square root, operations that IEEE 754 defines to the last bit.

Sources: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011);
Box and Muller, "A note on the generation of random normal deviates" (1958).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from export.edge.errors import UserError

_START = 0
"""The stream of the start noise; the noise of call i is stream i + 1."""

_MASK = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_AT_ONCE = 2**16
_MOST_KEPT = 2**20

_LN2 = math.log(2.0)
_LOG = tuple(2.0 / (2 * n + 1) for n in range(12))
_SIN = tuple((-1.0) ** n / math.factorial(2 * n + 1) for n in range(9))
_COS = tuple((-1.0) ** n / math.factorial(2 * n) for n in range(10))


def philox(counter: Sequence[np.ndarray], key: tuple[int, int]) -> list[np.ndarray]:
    """Philox4x32-10 on many counters at once.

    `counter` is four uint64 arrays of one shape, each holding 32-bit words; `key` two
    32-bit words. Returns four uint64 arrays of the same shape, each holding 32-bit words.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        p0, p1 = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (
            (p1 >> _HALF) ^ c1 ^ np.uint64(k0),
            p1 & _MASK,
            (p0 >> _HALF) ^ c3 ^ np.uint64(k1),
            p0 & _MASK,
        )
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return [c0, c1, c2, c3]


def normal(seed: int, stream: int, shape: Sequence[int]) -> np.ndarray:
    """Standard normal numbers, float32 of the given shape, from (seed, stream) alone.

    `seed` and `stream` are integers in 0 ... 2^64 - 1, else UserError. A longer array
    begins with the numbers of a shorter one.
    """
    check_word("seed", seed)
    check_word("stream", stream)
    count = math.prod(shape)
    values = np.empty(((count + 3) // 4, 4), np.float32)
    # Not all at once: what is needed along the way is many times what comes of it.
    for first in range(0, len(values), _AT_ONCE):
        part = values[first : first + _AT_ONCE]
        _fill(part, np.arange(first, first + len(part), dtype=np.uint64), seed, stream)
    return values.reshape(-1)[:count].reshape(tuple(shape))


def check_word(name: str, value: int) -> None:
    """Raise UserError, which calls it `name`, for a number outside 0 ... 2^64 - 1."""
    if not 0 <= value < 2**64:
        raise UserError(f"{name} {value} is outside 0 ... 2^64 - 1; choose a number inside")


def start_noise(seed: int, shape: Sequence[int]) -> np.ndarray:
    """The noise that a picture starts from, float32 of the given shape.

    The last one of moderate size is kept: frames of a video and photos of a folder have the same.
    """
    if math.prod(shape) > _MOST_KEPT:
        return normal(seed, _START, shape)
    return _kept(seed, tuple(shape)).copy()


@lru_cache(maxsize=1)
def _kept(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return normal(seed, _START, shape)


def step_noise(seed: int, call: int, shape: Sequence[int]) -> np.ndarray:
    """The noise that is added after call number `call` of the network, from 0, float32 of the given shape."""
    return normal(seed, _START + 1 + call, shape)


def _fill(values: np.ndarray, block: np.ndarray, seed: int, stream: int) -> None:
    """Write the four numbers of each block, uint64 (blocks,), into float32 (blocks, 4)."""
    lanes = [np.full_like(block, stream & 0xFFFFFFFF), np.full_like(block, stream >> 32)]
    words = philox([block & _MASK, block >> _HALF, *lanes], (seed & 0xFFFFFFFF, seed >> 32))
    for first in (0, 2):
        radius = np.sqrt(-2.0 * _log((words[first].astype(np.float64) + 0.5) * 2.0**-32))
        cosine, sine = _turn(words[first + 1])
        values[:, first] = radius * cosine
        values[:, first + 1] = radius * sine


def _polynomial(coefficients: Sequence[float], x: np.ndarray) -> np.ndarray:
    """sum of coefficients[n] * x^n by Horner's rule, one rounding an operation."""
    total = np.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total *= x
        total += coefficient
    return total


def _log(u: np.ndarray) -> np.ndarray:
    """ln(u) for float64 u in (0, 1), through 2 artanh((m - 1) / (m + 1)), m in [sqrt(1/2), sqrt(2))."""
    mantissa, exponent = np.frexp(u)
    low = mantissa < math.sqrt(0.5)
    mantissa = np.where(low, 2.0 * mantissa, mantissa)
    exponent = exponent - low
    s = (mantissa - 1.0) / (mantissa + 1.0)
    return exponent * _LN2 + s * _polynomial(_LOG, s * s)


def _turn(word: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """cos and sin of 2 pi word / 2^32: the nearest quarter turn exactly, the rest by its Taylor series."""
    turns = word.astype(np.int64)
    quarter = (turns + (1 << 29)) >> 30
    angle = (turns - (quarter << 30)).astype(np.float64) * 2.0**-32 * (2.0 * math.pi)
    square = angle * angle
    cosine, sine = _polynomial(_COS, square), angle * _polynomial(_SIN, square)
    odd = (quarter & 1) == 1
    cosine, sine = np.where(odd, -sine, cosine), np.where(odd, cosine, sine)
    half = np.where((quarter & 2) == 2, -1.0, 1.0)
    return half * cosine, half * sine
