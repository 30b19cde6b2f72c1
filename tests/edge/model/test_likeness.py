"""Likeness: pictures of the training kind are like it, others are not, and what travels is checked."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest

from export.edge.errors import UserError
from export.edge.model.likeness import FEATURES, Likeness, describe, describe_all, features, fit, read_likeness

SIZE = 32


def sky(seed: int, size: int = SIZE) -> np.ndarray:
    """A bright sky over dark, grainy land, of chance colours and shores: uint8 (size, size, 3)."""
    rng = np.random.default_rng(seed)
    row = np.linspace(0, 1, size)[:, None, None]
    top, low = rng.uniform(100, 160, 3), rng.uniform(170, 250, 3)
    picture = top + (low - top) * row + np.zeros((size, size, 1))
    shore = int(size * rng.uniform(0.5, 0.7))
    picture[shore:] = rng.uniform(20, 60, 3) + rng.normal(0, 8, (size - shore, size, 1))
    return np.clip(picture + rng.normal(0, 2, (size, size, 3)), 0, 255).astype(np.uint8)


def fitted(count: int = 80) -> Likeness:
    known = fit(np.stack([features(sky(seed)) for seed in range(count)]))
    assert known is not None
    return known


@pytest.fixture(scope="module")
def known() -> Likeness:
    return fitted()


def test_pictures_of_the_training_kind_are_like_it(known: Likeness) -> None:
    assert max(known.distance(sky(seed)) for seed in range(80)) <= 1.0
    unlike = sum(known.distance(sky(seed)) > 1.0 for seed in range(1000, 1100))
    assert unlike <= 5
    # Of another size, and wider than high.
    wide = np.concatenate([np.zeros((64, 32, 3), np.uint8), sky(1001, 64), np.zeros((64, 32, 3), np.uint8)], axis=1)
    assert known.distance(sky(1001, 64)) == known.distance(wide)


@pytest.mark.parametrize("kind", ["noise", "black", "inverted", "upside down", "mixed blocks"])
def test_other_pictures_are_unlike_it(known: Likeness, kind: str) -> None:
    rng, one = np.random.default_rng(0), sky(2000)
    quarters = one.reshape(4, SIZE // 4, 4, SIZE // 4, 3)
    pictures = {
        "noise": rng.integers(0, 256, one.shape, np.uint8),
        "black": np.zeros_like(one),
        "inverted": 255 - one,
        "upside down": one[::-1],
        "mixed blocks": quarters[rng.permutation(4)].reshape(one.shape),
    }
    assert known.distance(pictures[kind]) > 1.2


def test_features_are_those_of_a_loop_over_blocks() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (22, 30, 3), np.uint8)
    square = picture[:, 4:26] / 255.0
    light = square.mean(axis=2)
    edges = [0, 5, 11, 16, 22]
    colours, spreads, changes = [], [], []
    for top, bottom in itertools.pairwise(edges):
        for left, right in itertools.pairwise(edges):
            red, green, blue = square[top:bottom, left:right].reshape(-1, 3).mean(axis=0)
            colours += [(red + green + blue) / 3, red - blue, (red + blue) / 2 - green]
            spreads.append(np.log(light[top:bottom, left:right].std() + 1 / 64))
            down = np.abs(np.diff(light, axis=0))[top:bottom, left:right].sum()
            across = np.abs(np.diff(light, axis=1))[top:bottom, left:right].sum()
            changes.append(np.log((down + across) / ((bottom - top) * (right - left)) + 1 / 64))
    np.testing.assert_allclose(features(picture), [*colours, *spreads, *changes], rtol=0, atol=1e-9)
    assert all(np.isfinite(features(picture[:side, :side])).all() for side in range(1, 9))


def test_too_few_different_pictures_say_nothing() -> None:
    found = np.stack([features(sky(seed)) for seed in range(9)])
    assert fit(found) is None and fit(np.repeat(found, 9, axis=0)) is None
    assert fit(np.concatenate([found, [features(sky(9))]])) is not None
    # A picture that is there many times counts once.
    again = fit(np.repeat(np.stack([features(sky(seed)) for seed in range(12)]), 4, axis=0))
    assert again is not None and again.to_json() == fitted(12).to_json()


def test_what_travels_is_small_and_the_same_again(known: Likeness) -> None:
    text = known.to_json()
    assert len(text) < 10_000
    read = read_likeness(text, "x")
    assert read.to_json() == text and read.distance(sky(7)) == known.distance(sky(7))
    assert read == known and read != fitted(12)


def test_pictures_that_hardly_differ_leave_room() -> None:
    one, noise = sky(3) // 2, np.random.default_rng(0).integers(0, 3, (SIZE, SIZE, 3), np.uint8)
    known = fit(np.stack([features(one + np.uint8(n)) for n in range(20)]))
    assert known is not None and known.distance(one + np.uint8(9) + noise) < 1.0 < known.distance(255 - one)


def damaged(**changes: Any) -> str:
    held = json.loads(fitted(12).to_json())
    return json.dumps({key: value for key, value in (held | changes).items() if value is not None})


@pytest.mark.parametrize(
    "text",
    [
        "[]", "1", "{", "{}", damaged(rest=None), damaged(more=1), damaged(mean=[0.0]), damaged(rest=0),
        damaged(rest=[1]), damaged(reach=[]), damaged(reach=[1, 1, -1]), damaged(components=[[0.0] * FEATURES]),
        damaged(rest="much"), damaged(scale=[0.0] * FEATURES), damaged(mean=[1e300] * FEATURES),
        damaged(mean=None, rest=1e999), damaged(mean=[[0.0]] * FEATURES), damaged(mean={"a": 1}),
        damaged(components=[[1], [1, 2], 3]),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"^model x: likeness does not describe pictures .*; export it again$"):
        read_likeness(text, "model x: likeness")


def test_what_a_person_reads() -> None:
    assert describe("a.jpg", None) is None and describe("a.jpg", 1.0) is None
    line = describe("a.jpg", 2.43)
    assert line is not None and line.startswith("a.jpg is unlike the pictures") and "2.4 times the limit" in line
    assert describe_all({"a": 1.0, "b": None}) is None
    some = describe_all({"a": 1.0, "b": 1.5, "c": 2.0})
    assert some is not None and some.startswith("2 of 3 photos are unlike") and "c (2.0), b (1.5);" in some
    many = describe_all({str(i): 2.0 + i for i in range(25)})
    assert many is not None and many.count("(") == 11 and "and 15 more" in many and "24 (26.0), 23" in many
