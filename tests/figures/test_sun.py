"""The figure of the sun sees a sun in the wrong place, a faint one, and a ghost."""

from __future__ import annotations

import numpy as np
import pytest

from jax_impl.data.synthetic import render_pair
from tests.figures.sun import NEAR, SIZE, brightest, contrast, judge, scenes, suns


def test_the_true_sunset_is_right_and_the_input_is_wrong() -> None:
    (scene,) = scenes(1)
    sunrise, sunset = render_pair(scene.seed, SIZE)
    true, copied, mirrored = (judge(scene, sunrise, one, sunset) for one in (sunset, sunrise, sunset[:, ::-1]))
    assert (true.distance, true.contrast, true.ghost) == (0.0, 1.0, 0.0)
    away = SIZE * (1.0 - 2.0 * scene.sun_x)
    assert copied.distance == pytest.approx(away, abs=NEAR) == mirrored.distance
    assert copied.ghost == pytest.approx(1.0) and copied.contrast < 0.5


def test_a_saturated_disc_has_its_place_in_the_middle_and_its_contrast() -> None:
    rows, columns = np.mgrid[:SIZE, :SIZE]
    picture = np.full((SIZE, SIZE, 3), 51, np.uint8)
    picture[np.hypot(rows - 40, columns - 90) < 6] = 255
    np.testing.assert_allclose(brightest(picture), [40, 90], atol=0.5)
    assert contrast(picture, np.array([40.0, 90.0])) == pytest.approx(0.8, abs=1e-6)


def test_the_scenes_have_a_sun_on_each_side_in_its_hour() -> None:
    for scene in scenes(2):
        morning, evening = suns(scene)
        sunrise, sunset = render_pair(scene.seed, SIZE)
        assert morning[1] < SIZE / 2 < evening[1]
        assert contrast(sunrise, morning) > 0.05 and contrast(sunset, evening) > 0.1
