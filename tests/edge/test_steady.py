"""Frames of a film: the first is the photo's translation, a still scene does not flicker, a new one is not mixed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from export.edge.model.artifact import Artifact, open_artifact
from export.edge.steady import AS_RECOMMENDED, Seen, Steady, translate_frame
from export.edge.translate import translate
from tests.edge.conftest import MakeModel
from tests.export.graphs import photo

SECOND = 1 / 25
BY_ITSELF = Steady(smoothing=0.0)


@pytest.fixture
def model(make_model: MakeModel) -> Artifact:
    return open_artifact(Path(make_model()), 1)


def film(model: Artifact, pictures: list[np.ndarray], how: Steady = AS_RECOMMENDED) -> np.ndarray:
    made, seen = [], None
    for place, picture in enumerate(pictures):
        frame, seen = translate_frame(model, picture, place * SECOND, seen, how)
        made.append(frame)
    return np.stack(made).astype(float)


def blocks(frames: np.ndarray, side: int = 8) -> np.ndarray:
    """Means over squares, in which a camera's noise is gone and flicker is not."""
    count, height, width, _ = frames.shape
    rows, columns = height // side, width // side
    cut = frames[:, : rows * side, : columns * side]
    return cut.reshape(count, rows, side, columns, side, 3).mean(axis=(2, 4))


@pytest.mark.parametrize("fit", ["crop", "letterbox", "stretch"])
@pytest.mark.parametrize("shape", [(60, 90), (97, 41), (20, 16)])
def test_the_first_frame_is_the_translation_of_a_photo(shape: tuple[int, int], fit: str, make_model: MakeModel) -> None:
    model = open_artifact(Path(make_model(fit=fit)), 1)
    picture = photo(*shape)
    found, _ = translate_frame(model, picture, 0.0)
    assert found.shape == picture.shape and found.dtype == np.uint8
    wanted = translate(model, picture)
    # A photo smaller than the model's picture is resized by other means.
    most = 2 if shape != (20, 16) else 40
    assert np.abs(found.astype(int) - wanted).max() <= most


def test_a_still_scene_does_not_flicker(model: Artifact) -> None:
    still = film(model, [photo(64, 96)] * 5)
    assert np.abs(np.diff(still, axis=0)).max() == 0
    rng = np.random.default_rng(0)
    noisy = [np.clip(photo(64, 96) + rng.normal(0, 6, (64, 96, 3)), 0, 255).astype(np.uint8) for _ in range(20)]
    alone, smoothed = (np.abs(np.diff(blocks(film(model, noisy, how)), axis=0)) for how in (BY_ITSELF, Steady()))
    # What is left is the noise of the photo's own pixels.
    assert smoothed.mean() < 0.7 * alone.mean()
    assert smoothed.mean() < 1.0


def test_a_new_scene_and_what_moves_have_their_own_colours_at_once(model: Artifact) -> None:
    first, second = photo(64, 96), 255 - photo(64, 96)
    cut = film(model, [first] * 4 + [second])
    assert np.abs(cut[-1] - film(model, [second])[0]).max() <= 1
    moved = first.copy()
    moved[:, 70:] = second[:, 70:]
    half = film(model, [first] * 4 + [moved])[-1]
    assert np.abs(half[:, :40] - film(model, [first])[0][:, :40]).max() <= 2
    assert np.abs(half[:, 80:] - film(model, [moved])[0][:, 80:]).mean() <= 1


def test_smoothing_follows_the_clock_and_not_the_frames(model: Artifact) -> None:
    """Half the time between frames, twice the frames: colours are as far."""
    picture = photo(64, 96)
    _, seen = translate_frame(model, picture, 0.0)
    start = Seen(seen.guide, seen.change + 0.2, 0.0)

    def after(times: list[float]) -> np.ndarray:
        now = start
        for time in times:
            _, now = translate_frame(model, picture, time, now, Steady(smoothing=0.5))
        return now.change

    np.testing.assert_allclose(after([0.5]), seen.change + 0.2 * np.exp(-1), atol=1e-4)
    np.testing.assert_allclose(after([0.2, 0.35, 0.5]), after([0.5]), atol=1e-4)
    # A clock that goes back changes nothing.
    np.testing.assert_allclose(after([-1.0]), start.change, atol=1e-6)
