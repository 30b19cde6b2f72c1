"""Power by octave: what white noise, waves and blur must have."""

from __future__ import annotations

import numpy as np
import pytest

from jax_impl.evaluation.spectrum import decibels, octaves, power, titles


def noise(deviation: float, side: int = 64, count: int = 8) -> np.ndarray:
    grey = np.random.default_rng(0).normal(127.5, deviation, (count, side, side, 1))
    return np.clip(np.round(np.repeat(grey, 3, axis=3)), 0, 255).astype(np.uint8)


def test_grey_white_noise_has_its_variance_in_every_octave_and_no_colour() -> None:
    found = power(noise(20.0)).mean(axis=0)
    assert found[:4] == pytest.approx([400.0] * 4, rel=0.25)
    assert found[4:] == pytest.approx([1.0 / 12.0] * 4, abs=1e-2)


@pytest.mark.parametrize(("period", "octave"), [(3, 0), (6, 1), (12, 2), (24, 3)])
def test_a_wave_lies_in_the_octave_of_its_period(period: int, octave: int) -> None:
    wave = 127.5 + 60.0 * np.sin(2.0 * np.pi * np.arange(96) / period)
    picture = np.broadcast_to(np.round(wave)[None, None, :, None], (1, 96, 96, 3)).astype(np.uint8)
    assert int(np.argmax(power(picture)[0, :4])) == octave


def test_coloured_grain_is_seen_where_brightness_alone_sees_none() -> None:
    clean = noise(20.0).astype(np.float64)
    grain = np.random.default_rng(1).normal(0.0, 10.0, (*clean.shape[:3], 2))
    # Red up and green down by their weights in luma: the brightness stays.
    shift = np.stack([grain[..., 0] / 0.299, -grain[..., 0] / 0.587, 0.0 * grain[..., 0]], axis=-1)
    made = np.clip(np.round(clean + 0.3 * shift), 0, 255).astype(np.uint8)
    apart = decibels(power(made).mean(axis=0), power(noise(20.0)).mean(axis=0))
    assert np.abs(apart[:4]).max() < 0.5
    assert apart[4:].min() > 15.0


def test_names_fit_the_columns_at_any_size() -> None:
    assert titles(64, 64)[0] == "brightness 2–4 px" and titles(64, 64)[-1] == "colour 16–32 px"
    for height, width in ((16, 16), (8, 200), (33, 64), (512, 512)):
        found = power(np.zeros((2, height, width, 3), np.uint8))
        assert found.shape == (2, len(titles(height, width))) == (2, 2 * octaves(height, width))
        assert np.isfinite(found).all()
