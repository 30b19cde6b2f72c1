"""Windows that cover, agree, and blend without a trace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.edge.choices import PREDICTIONS
from export.edge.errors import UserError
from export.edge.model.artifact import open_artifact
from export.edge.pictures.arrays import working_sides
from export.edge.sampling.table import COLUMNS
from export.edge.tiles import MOST_PIXELS, anchored, check_tile, cut, own_tile, tiled, weight, windows
from export.edge.translate import Options, translate

MakeModel = Callable[..., Path]
rng = np.random.default_rng(0)


def pointwise(x_t: np.ndarray, cond: np.ndarray, t: np.ndarray) -> np.ndarray:
    """What it says of a pixel depends on that pixel alone."""
    return np.sin(2 * x_t) + 0.5 * cond[..., ::-1][..., -3:] + t[0] / 100


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 8), st.sampled_from([1, 2, 8]))
def test_windows_cover_the_picture_and_overlap_by_half(height: int, width: int, size: int, multiple: int) -> None:
    height, width, size = height * multiple, width * multiple, size * multiple
    seen = np.zeros((height, width), int)
    places = windows(height, width, size, multiple)
    for rows, columns in places:
        assert rows.start % multiple == 0 == columns.start % multiple
        assert (rows.stop - rows.start, columns.stop - columns.start) == (min(size, height), min(size, width))
        assert rows.stop <= height and columns.stop <= width
        seen[rows, columns] += 1
    assert seen.min() >= 1
    starts = sorted({columns.start for _, columns in places})
    assert all(after - before <= max(multiple, size / 2) for before, after in pairwise(starts))


def test_weights_add_up_to_one() -> None:
    """A network that says 1 everywhere is blended to 1 everywhere."""
    whole = tiled(lambda x_t, cond, t: np.ones_like(x_t), windows(72, 56, 32, 8))
    zeros = np.zeros((1, 72, 56, 3), np.float32)
    np.testing.assert_allclose(whole(zeros, zeros, np.array([0])), 1.0, rtol=1e-6)


def test_a_window_counts_less_towards_its_border() -> None:
    counts = weight(32, 16)[..., 0]
    assert counts.shape == (32, 16) and counts.min() > 0
    np.testing.assert_allclose(counts, counts[::-1, ::-1], rtol=1e-4)
    assert counts[0].max() < 0.003 and counts[16, 8] > 0.98
    np.testing.assert_allclose(counts[:16, 4] + counts[16:, 4], counts[:, 4].max(), rtol=0.01)


@pytest.mark.parametrize("channels", [3, 5])
def test_a_pointwise_network_says_the_same_in_windows_as_of_the_whole(channels: int) -> None:
    x_t = rng.standard_normal((1, 72, 40, 3)).astype(np.float32)
    cond = rng.standard_normal((1, 72, 40, channels)).astype(np.float32)
    t, done = np.array([7]), []
    found = tiled(pointwise, windows(72, 40, 32, 8), done.append)(x_t, cond, t)
    np.testing.assert_allclose(found, pointwise(x_t, cond, t), atol=1e-5)
    assert done == list(range(len(windows(72, 40, 32, 8)) + 1))


def test_a_window_is_told_its_place() -> None:
    """Two more channels of cond that hold each pixel's place arrive as those of the whole."""
    cond = np.concatenate([np.zeros((1, 64, 48, 3)), np.indices((64, 48)).transpose(1, 2, 0)[None]], axis=-1)
    part = cut(cond, (slice(8, 40), slice(16, 48)))
    assert part[0, 0, 0, 3:].tolist() == [8, 16] and part[0, -1, -1, 3:].tolist() == [39, 47]


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_coarse_part_comes_from_the_whole_scene(make_model: MakeModel, prediction: str) -> None:
    # From the third call on: in the first, at t = 99, an eps in float32 says too little.
    plan = open_artifact(make_model(prediction=prediction)).plan(4)
    plan = replace(plan, **{name: getattr(plan, name)[2:] for name in ("t", *COLUMNS)})
    x_t = rng.standard_normal((1, 64, 96, 3)).astype(np.float32)
    fine = 0.3 * (-1.0) ** np.indices((64, 96)).sum(0)[None, ..., None] * np.ones(3)
    t, a, b = plan.t[:1], plan.x0_from_x[0], plan.x0_from_output[0]

    def denoise(x_t: np.ndarray, cond: np.ndarray, t: np.ndarray) -> np.ndarray:
        """An output by which x0_hat is a fine checkerboard on grey that lies wrong."""
        return ((fine + 0.6 - a * x_t) / b).astype(np.float32)

    small = np.full((16, 24, 3), [-0.5, 0.0, 0.5])
    x0 = a * x_t + b * anchored(denoise, small, plan)(x_t, x_t, t)
    np.testing.assert_allclose(x0, fine + small[0, 0], atol=0.02)


def photo(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([255 * x / width, 255 * y / height, 0 * x + 90], -1).astype(np.uint8)


@pytest.mark.parametrize("fit", ["crop", "letterbox", "stretch"])
def test_a_photo_drawn_in_windows_shows_no_borders(make_model: MakeModel, fit: str) -> None:
    """The negative of a smooth picture is as smooth; a seam would stand out of its slope."""
    model = open_artifact(make_model(fit=fit))
    sizes, done = [], []
    result = translate(
        model, photo(96, 160), Options(steps=2, tile=96), seed=3, on_step=lambda step, _: sizes.append(step.x.shape),
        on_window=lambda d, total: done.append((d, total)),
    )  # fmt: skip
    count = 2 * len(windows(96, 160, 32, 8))
    assert result.shape == (96, 160, 3) and sizes == [(1, 96, 160, 3)] * 2
    assert done == [(i, count) for i in range(count + 1)]
    steps = np.abs(np.diff(result.astype(float), axis=1)).mean(axis=(0, 2))
    borders = [place[1].start - 1 for place in windows(96, 160, 32, 8) if place[1].start]
    assert steps[borders].mean() < 1.2 * steps.mean()


def test_windows_of_a_model_with_coordinates_know_their_place_in_the_whole(make_model: MakeModel) -> None:
    model = open_artifact(make_model(coordinates="true"))
    seen = []

    def denoise(x_t: np.ndarray, cond: np.ndarray, t: np.ndarray) -> np.ndarray:
        seen.append(cond[0, :, :, 3:])
        return x_t

    translate(replace(model, denoise=denoise), photo(96, 160), Options(steps=1, tile=96))
    scene, *parts = seen
    assert np.ptp(scene[..., 0]) == pytest.approx(2 - 2 / 32)
    for place, part in zip(windows(96, 160, 32, 8), parts, strict=True):
        rows, columns = ((2 * np.arange(n) + 1) / n - 1 for n in (96, 160))
        np.testing.assert_allclose(part[:, 0, 0], rows[place[0]], atol=1e-6)
        np.testing.assert_allclose(part[0, :, 1], columns[place[1]], atol=1e-6)


def test_another_shape_and_size_come_back(make_model: MakeModel) -> None:
    model = open_artifact(make_model())
    assert translate(model, photo(75, 201), Options(steps=1, tile=40)).shape == (75, 201, 3)
    assert translate(model, photo(20, 10), Options(steps=1, tile=40)).shape == (20, 10, 3)
    np.testing.assert_array_equal(
        translate(model, photo(75, 201), Options(steps=1, tile=40)),
        translate(model, photo(75, 201), Options(steps=1, tile=40)),
    )


@pytest.mark.parametrize("tile", [0, -8, 24, 44, 4096])
def test_a_tile_that_does_not_suit_the_model_is_named(make_model: MakeModel, tile: int) -> None:
    with pytest.raises(UserError, match=rf"tile {tile} is no multiple of 8 from 32, .* to 2048; choose one"):
        translate(open_artifact(make_model()), photo(64, 64), Options(tile=tile))


def test_a_photos_own_tile_can_be_drawn(make_model: MakeModel) -> None:
    model = open_artifact(make_model())
    for height, width in np.exp(rng.uniform(0, np.log(9000), (200, 2))).astype(int).tolist():
        tile = own_tile(model, height, width)
        check_tile(model, tile)
        assert windows(*working_sides(height, width, tile, 8), 32, 8)
        if min(height, width) >= 32 and (height + 8) * (width + 8) <= MOST_PIXELS:
            assert abs(tile - min(height, width)) <= 4


def test_a_picture_of_too_many_pixels_is_named(make_model: MakeModel) -> None:
    with pytest.raises(UserError, match="a picture of 4096 x 2048 pixels is more than the 4 million"):
        translate(open_artifact(make_model()), photo(50, 100), Options(tile=2048))
