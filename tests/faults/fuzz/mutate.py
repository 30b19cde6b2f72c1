"""Bytes, made wrong: flips, cuts, splices, and numbers replaced by extremes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

T = TypeVar("T")
Change = Callable[[bytes, Random, bytes], bytes]

_WORDS = [
    *(b"NaN", b"Infinity", b"-1", b"0", b"1e999", b"-0", b"999999999999", b"null", b'""', b"[]", b"{}", b"true"),
    *(b"../", b"/", b"\\", b"\x00", b"\xff", b"\xed\xa0\x80", b"\r", b"\n", b'"', b",", b"%s", b"\x1b[2J"),
    *(b"9" * 400, b"[" * 2000, b'{"a":' * 2000, b"a" * 5000),
]
_EXTREMES = [
    edge.to_bytes(width, order)
    for width in (1, 2, 4, 8)
    for order in ("little", "big")
    for edge in (0, 1, 2 ** (8 * width - 1) - 1, 2 ** (8 * width - 1), 2 ** (8 * width) - 1)
]


def _flip(data: bytes, rng: Random, other: bytes) -> bytes:
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]


def _set(data: bytes, rng: Random, other: bytes) -> bytes:
    place = rng.randrange(len(data))
    return data[:place] + bytes([rng.randrange(256)]) + data[place + 1 :]


def _cut(data: bytes, rng: Random, other: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def _delete(data: bytes, rng: Random, other: bytes) -> bytes:
    start, end = _span(data, rng)
    return data[:start] + data[end:]


def _repeat(data: bytes, rng: Random, other: bytes) -> bytes:
    start, end = _span(data, rng)
    return data[:end] + data[start:end] * rng.randint(1, 4) + data[end:]


def _move(data: bytes, rng: Random, other: bytes) -> bytes:
    start, end = _span(data, rng)
    rest = data[:start] + data[end:]
    place = rng.randrange(len(rest) + 1)
    return rest[:place] + data[start:end] + rest[place:]


def _insert(data: bytes, rng: Random, other: bytes) -> bytes:
    place = rng.randrange(len(data) + 1)
    return data[:place] + rng.choice([*_WORDS, rng.randbytes(rng.randint(1, 16))]) + data[place:]


def _extreme(data: bytes, rng: Random, other: bytes) -> bytes:
    value = rng.choice(_EXTREMES)
    # Most formats keep their sizes in the first few hundred bytes.
    place = rng.randrange(min(len(data), rng.choice([64, 512, len(data)])))
    return data[:place] + value + data[place + len(value) :]


def _number(data: bytes, rng: Random, other: bytes) -> bytes:
    numbers = list(re.finditer(rb"-?\d+(\.\d+)?", data[:20000]))
    if not numbers:
        return _set(data, rng, other)
    found = rng.choice(numbers)
    return data[: found.start()] + rng.choice(_WORDS) + data[found.end() :]


def _splice(data: bytes, rng: Random, other: bytes) -> bytes:
    return data[: rng.randrange(len(data))] + other[rng.randrange(max(1, len(other))) :]


CHANGES: Sequence[Change] = (
    *(_flip, _flip, _set, _cut, _delete, _repeat, _move, _insert, _extreme, _extreme, _number, _splice),
)


def mutate(data: bytes, rng: Random, other: bytes) -> bytes:
    """`data` after one to four changes; `other` is what it may be spliced with."""
    for _ in range(rng.choice([1, 1, 1, 2, 3, 4])):
        if data:
            data = rng.choice(CHANGES)(data, rng, other)
    return data


def _span(data: bytes, rng: Random) -> tuple[int, int]:
    start = rng.randrange(len(data))
    return start, min(len(data), start + rng.choice([1, 2, 4, 16, 100, 1000]))


def examples(strategy: st.SearchStrategy[T], count: int, seed: int) -> list[T]:
    """Values that hypothesis makes by a strategy: the same for a seed, at most `count`."""
    found: list[T] = []

    @hypothesis.seed(seed)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        derandomize=False,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(strategy)
    def collect(value: T) -> None:
        found.append(value)

    collect()
    return found
