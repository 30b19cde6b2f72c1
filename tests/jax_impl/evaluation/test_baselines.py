"""The baselines: each recovers the change it stands for, and learns it from the training pairs alone."""

from __future__ import annotations

import numpy as np
from skimage.color import rgb2lab

from jax_impl.data.loader import Pairs
from jax_impl.evaluation.baselines import color_transfer, copy_input, mean_target, pixel_ridge
from jax_impl.evaluation.held_out import HeldOut


def pairs_of(cond: np.ndarray, x0: np.ndarray) -> Pairs:
    return Pairs(tuple(f"p{i}" for i in range(len(cond))), cond, x0)


def colours(count: int, seed: int = 0, low: int = 60, high: int = 190, side: int = 24) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, (count, side, side, 3), dtype=np.uint8)


def rounded(values: np.ndarray) -> np.ndarray:
    return np.floor(np.clip(values, 0, 255) + 0.5).astype(np.uint8)


def test_ridge_recovers_an_affine_change_of_colour() -> None:
    mix = np.array([[0.7, 0.2, 0.0], [0.1, 0.5, 0.3], [-0.1, 0.0, 0.9]])

    def change(x: np.ndarray) -> np.ndarray:
        return rounded(x @ mix.T + np.array([5.0, -8.0, 12.0]))

    train, unseen = colours(6), colours(2, seed=1)
    translate = pixel_ridge(pairs_of(train, change(train)))
    for picture in unseen:
        assert np.abs(translate(picture, 0).astype(int) - change(picture)).max() <= 1


def test_ridge_recovers_a_gradient_and_a_light_that_falls_on_one_side() -> None:
    down, right = ((2.0 * np.mgrid[:24, :24] + 1.0) / 24 - 1.0)[..., None]

    def change(x: np.ndarray) -> np.ndarray:
        return rounded(x * (1.0 + 0.3 * right) + 20.0 * down - 10.0 * down * right + 15.0 * right**2)

    train, unseen = colours(6, high=150), colours(2, seed=1, high=150)
    translate = pixel_ridge(pairs_of(train, change(train)))
    for picture in unseen:
        assert np.abs(translate(picture, 0).astype(int) - change(picture)).max() <= 1


def test_ridge_learned_at_one_size_works_at_another() -> None:
    train = colours(4)
    translate = pixel_ridge(pairs_of(train, rounded(train * 0.5)))
    other = colours(1, seed=2, side=40)[0]
    assert np.abs(translate(other, 0).astype(int) - rounded(other * 0.5)).max() <= 1


def test_transferred_colours_have_the_statistics_of_training_targets() -> None:
    targets = colours(5, low=80, high=120)
    translate = color_transfer(pairs_of(colours(5, seed=1), targets))
    lab = np.stack([rgb2lab(x) for x in targets])
    for picture in colours(3, seed=2, low=100, high=220):
        made = rgb2lab(translate(picture, 0))
        np.testing.assert_allclose(made.mean((0, 1)), lab.mean((1, 2)).mean(0), atol=0.3)
        np.testing.assert_allclose(made.std((0, 1)), lab.std((1, 2)).mean(0), atol=0.5)


def test_transfer_to_the_same_statistics_changes_nothing() -> None:
    picture = colours(1)[0]
    translate = color_transfer(pairs_of(picture[None], picture[None]))
    assert np.abs(translate(picture, 0).astype(int) - picture).max() <= 1


def test_transfer_leaves_flat_pictures_flat() -> None:
    translate = color_transfer(pairs_of(colours(3), colours(3, seed=1)))
    made = translate(np.full((9, 9, 3), 77, np.uint8), 0)
    assert (made == made[0, 0]).all()


def test_the_mean_target_ignores_its_input(held_out: HeldOut) -> None:
    assert held_out.train is not None
    translate = mean_target(held_out.train)
    a, b = translate(held_out.pairs.cond[0], 0), translate(held_out.pairs.cond[1], 9)
    np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(a, held_out.train.x0.mean(axis=0), atol=0.5)


def test_a_copy_is_the_input(held_out: HeldOut) -> None:
    np.testing.assert_array_equal(copy_input(held_out.pairs.cond[0], 3), held_out.pairs.cond[0])
