"""Figures of sets: controls that keep the right spectrum or the right patches, and are still wrong, must lose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jax_impl.evaluation.held_out import HeldOut
from jax_impl.evaluation.sets import JOINT, NATURALNESS, SPECTRUM, SWD, SetMetric, set_metrics


def value(metric: SetMetric, drawn: np.ndarray) -> float:
    count = len(drawn)
    return float(metric.total(metric.compare(drawn[None])(np.full((1, count), 1.0 / count)))[0])


@pytest.fixture(scope="module")
def metrics(held_out: HeldOut) -> dict[str, SetMetric]:
    return set_metrics(held_out)


def test_the_truth_is_at_no_distance(metrics: dict[str, SetMetric], held_out: HeldOut) -> None:
    for name in (SWD, JOINT, SPECTRUM):
        assert value(metrics[name], held_out.pairs.x0) == 0.0
    assert metrics[SPECTRUM].parts[0] == "brightness 2–4 px"


def test_textures_in_the_wrong_picture_are_forgiven_by_swd_and_not_by_the_joint_one(
    metrics: dict[str, SetMetric], held_out: HeldOut
) -> None:
    flat = held_out.pairs.x0.mean(axis=(1, 2), keepdims=True) + np.zeros(held_out.pairs.x0.shape)
    shuffled, flat = np.roll(held_out.pairs.x0, 1, axis=0), flat.astype(np.uint8)
    swd, joint = ({name: value(metrics[key], made) for name, made in (("shuffled", shuffled), ("flat", flat))}
                  for key in (SWD, JOINT))  # fmt: skip
    assert swd["shuffled"] / swd["flat"] < joint["shuffled"] / joint["flat"]


def test_noise_with_the_spectrum_of_the_truth_is_seen_by_all_but_the_spectrum(
    metrics: dict[str, SetMetric], held_out: HeldOut
) -> None:
    """The mean picture plus noise in which every wave is as strong as in the truth's own rest."""
    truth = held_out.pairs.x0.astype(np.float64)
    mean = truth.mean(axis=0, keepdims=True)
    phases = np.fft.fft2(np.random.default_rng(0).normal(size=truth.shape), axes=(1, 2))
    rest = np.abs(np.fft.fft2(truth - mean, axes=(1, 2)))
    noise = np.fft.ifft2(rest * phases / np.maximum(np.abs(phases), 1e-9), axes=(1, 2)).real
    shaped = np.clip(np.round(mean + noise), 0, 255).astype(np.uint8)
    flat = np.clip(np.round(mean + 0.0 * noise), 0, 255).astype(np.uint8)
    assert value(metrics[SPECTRUM], shaped) < 0.7 * value(metrics[SPECTRUM], flat)
    near = np.clip(truth + np.random.default_rng(1).normal(0.0, 2.0, truth.shape), 0, 255).astype(np.uint8)
    for name in (SWD, JOINT, NATURALNESS):
        assert value(metrics[name], shaped) > 1.5 * value(metrics[name], near)


def test_naturalness_needs_training_pairs(held_out: HeldOut) -> None:
    assert NATURALNESS not in set_metrics(replace(held_out, train=None))
