"""The bilateral grid: recovers changes that depend on place and brightness, beyond one change for all pixels."""

from __future__ import annotations

import numpy as np
import pytest

from jax_impl.evaluation import bilateral
from jax_impl.evaluation.baselines import pixel_ridge
from jax_impl.evaluation.bilateral import bilateral_grid
from tests.jax_impl.evaluation.test_baselines import colours, pairs_of, rounded


def lights(x: np.ndarray) -> np.ndarray:
    """Bright pixels become redder, dark ones bluer, and a lamp shines in one corner."""
    luma = (x @ np.array([0.299, 0.587, 0.114]))[..., None]
    down, right = ((np.mgrid[: x.shape[1], : x.shape[2]] + 0.5) / x.shape[1])[..., None]
    lamp = 60.0 * np.maximum(0.0, 1.0 - 3.0 * (down + right))
    return rounded(x * 0.7 + np.maximum(0.0, luma - 128.0) * np.array([0.6, 0.2, -0.6]) + lamp)


def worst(translate: bilateral.Translate, pictures: np.ndarray) -> float:
    made = np.stack([translate(picture, 0) for picture in pictures]).astype(int)
    return float(np.abs(made - lights(pictures)).mean(axis=(0, 3)).max())


def test_it_recovers_what_one_smooth_change_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bilateral, "PENALTY", 1e-4)
    train, unseen = colours(40, side=32), colours(8, seed=1, side=32)
    pairs = pairs_of(train, lights(train))
    assert worst(bilateral_grid(pairs), unseen) < 7.0 < 10.0 < worst(pixel_ridge(pairs), unseen)


@pytest.mark.parametrize("side", [9, 24, 50])
def test_each_pixel_lies_in_one_cell_and_its_weights_add_up(side: int) -> None:
    picture = colours(1, side=side)
    seen = np.zeros((side, side), int)
    for touched, rows, columns in bilateral._cells(side, side):
        seen[rows, columns] += 1
        places = bilateral._places(rows, columns, (side, side), 1)
        features = bilateral._features(bilateral._colours(picture[0, rows, columns].reshape(-1, 3)), places)
        assert features.shape[1] == len(touched) == len(set(touched.tolist()))
        np.testing.assert_allclose(features.reshape(len(features), -1, 4)[..., 3].sum(axis=1), 1.0, rtol=1e-5)
    assert (seen == 1).all()


def test_without_evidence_it_makes_the_change_that_fits_all_pixels() -> None:
    train = colours(4, low=60, high=70)
    translate = bilateral_grid(pairs_of(train, rounded(train * 0.5 + 20.0)))
    bright = np.full((24, 24, 3), 240, np.uint8)
    assert np.abs(translate(bright, 0).astype(int) - 140).max() <= 12


def test_few_of_many_pixels_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    train, unseen = colours(40, side=32), colours(2, seed=1, side=32)
    monkeypatch.setattr(bilateral, "PENALTY", 1e-4)
    monkeypatch.setattr(bilateral, "MOST_PIXELS", 20_000)
    assert worst(bilateral_grid(pairs_of(train, lights(train))), unseen) < 12.0
