"""Where one picture lies on another, in another light: known displacements come back, and nothing is made up."""

from collections.abc import Iterator

import numpy as np
import pytest
from skimage.registration import phase_cross_correlation

from export.edge.pictures.arrays import resize
from jax_impl.data.alignment import register
from jax_impl.data.synthetic import render_pair
from jax_impl.data.warp import Move, common, lay_over
from tests.figures import alignment

SIDE, BIG = (168, 224), 320


def seen_from(picture: np.ndarray, move: Move, check: bool = True) -> np.ndarray:
    return alignment.seen_from(picture, move, *SIDE, check=check)


def in_other_light(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another gamma, colour, and brightness from side to side, a repainted sky, and noise."""
    y, x = (np.linspace(-1, 1, side) for side in picture.shape[:2])
    light = picture / 255.0
    light[y < -0.4] = 0.3 * light[y < -0.4] + 0.7 * rng.uniform(0, 1, 3)
    light = light ** rng.uniform(0.5, 2.0) * rng.uniform(0.4, 1.0, 3)
    light *= (1 + rng.uniform(-0.4, 0.4) * y[:, None] + rng.uniform(-0.4, 0.4) * x)[..., None]
    return np.clip(255 * light + rng.normal(0, 3, light.shape), 0, 255).astype(np.uint8)


def distance(a: Move, b: Move) -> float:
    return alignment.distance(a, b, *SIDE)


def displaced_pairs(count: int) -> Iterator[tuple[np.ndarray, np.ndarray, Move]]:
    """Mornings, and displaced evenings or mornings in another light, in turn."""
    rng = np.random.default_rng(0)
    for seed in range(count):
        cond, x0 = render_pair(seed, BIG)
        other = x0 if seed % 2 else in_other_light(cond, rng)
        move = alignment.random_move(rng, 11)
        yield seen_from(cond, Move()), seen_from(other, move), move


def test_known_displacements_are_found_and_undone_and_the_error_is_honest() -> None:
    apart, errors = [], []
    for cond, x0, move in displaced_pairs(16):
        found = register(cond, x0)
        if found.verdict != "moved":
            continue
        apart.append(distance(found.move, move))
        errors.append(found.error)
        here, there = lay_over(cond, x0, found.move)
        assert here.shape == there.shape
        assert min(here.shape[:2]) > 0.7 * SIDE[0]
        assert register(here, there).verdict != "moved"
    assert len(apart) >= 13
    assert np.median(apart) < 0.25
    assert max(apart) < 1.0
    assert np.mean(np.array(apart) < 3 * np.array(errors)) >= 0.9
    assert np.median(errors) < 10 * np.median(apart)


@pytest.mark.parametrize("shift", [complex(2.25, -1.5), complex(-7.4, 3.1), complex(0.6, 0.7)])
def test_pure_shifts_are_those_of_scikit_image(shift: complex) -> None:
    picture = render_pair(5, BIG)[0]
    cond, x0 = seen_from(picture, Move()), seen_from(picture, Move(1, shift))
    expected, _, _ = phase_cross_correlation(x0.mean(-1), cond.mean(-1), upsample_factor=50, normalization=None)
    found = register(cond, x0)
    assert found.verdict == "moved"
    assert abs(found.move.w - complex(expected[1], expected[0])) < 0.25
    assert abs(found.move.w - shift) < 0.15


def test_pictures_of_different_places_are_never_moved() -> None:
    rng = np.random.default_rng(1)
    size = (120, 160)
    scenes = [[p[:120] for p in render_pair(seed, 160)] for seed in range(30)]
    for shift in (1, 7):
        for i, (cond, _) in enumerate(scenes):
            assert register(cond, scenes[(i + shift) % len(scenes)][1]).verdict == "unclear"
    noise = [rng.integers(0, 256, (*size, 3), np.uint8) for _ in range(2)]
    assert register(*noise).verdict == "unclear"
    flat = np.full((*size, 3), 90, np.uint8)
    assert register(flat, flat).verdict == register(flat, noise[0]).verdict == "unclear"


def test_what_is_far_away_or_tiny_is_left_alone() -> None:
    picture = render_pair(4, BIG)[0]
    assert register(seen_from(picture, Move()), seen_from(picture, Move(1, 27 + 3j))).verdict == "too far"
    assert register(seen_from(picture, Move()), seen_from(picture, Move(1, 45 + 0j))).verdict in ("unclear", "too far")
    assert register(picture[:40, :300], picture[:40, :300]).verdict == "too small"


def test_a_strip_and_a_picture_of_another_size_are_compared_too() -> None:
    wide = np.concatenate([render_pair(seed, 240)[0] for seed in range(6)], axis=1)
    found = register(wide[20:120, 10:-10], wide[17:117, 4:-16])
    assert found.verdict == "moved"
    assert abs(found.move.w - complex(6, 3)) < 0.2
    picture = render_pair(6, BIG)[0]
    cond, x0 = picture[10:-10, 10:-10], resize(picture, 2 * BIG, 2 * BIG)[28:-12, 28:-12]
    found = register(cond, x0)
    assert found.verdict == "moved"
    assert abs(found.move.w - complex(-4, -4)) < 0.2
    here, there = lay_over(cond, x0, found.move)
    assert here.shape == there.shape
    assert np.abs(here.astype(float) - there).mean() < 1.5


def test_laying_over_invents_no_pixel_and_is_the_warp_of_scikit_image() -> None:
    rng = np.random.default_rng(2)
    white = np.full((*SIDE, 3), 255, np.uint8)
    cond = rng.integers(0, 256, (*SIDE, 3), np.uint8)
    x0 = resize(resize(render_pair(2, BIG)[1], 60, 60), *SIDE)  # smooth, so that good filters agree
    for _ in range(4):
        move = alignment.random_move(rng, 11)
        left, top, right, bottom = common(move, *SIDE)
        here, there = lay_over(cond, x0, move)
        assert np.array_equal(here, cond[top:bottom, left:right])
        off = [
            seen_from(x0, Move(1 / move.z, -(move.w + d) / move.z), check=False) for d in (0, 0.3, -0.3, 0.3j, -0.3j)
        ]
        differences = [np.abs(each[top:bottom, left:right].astype(float) - there).mean() for each in off]
        assert differences[0] < 0.5  # the two bicubic filters are not the same
        assert differences[0] < 0.8 * min(differences[1:])
        assert lay_over(cond, white, move)[1].min() == 255
