"""Held-out built-in scenes, small, with a judge for them."""

from __future__ import annotations

import pytest

from jax_impl.config.data import DataConfig
from jax_impl.evaluation.held_out import HeldOut, open_held_out
from jax_impl.evaluation.scoring import METRICS, Judge, make_judge


@pytest.fixture(scope="session")
def held_out() -> HeldOut:
    """Six scenes at 32 × 32, and ten to learn from."""
    return open_held_out(DataConfig(size=32, synthetic_pairs=10, synthetic_val_pairs=6), "val")


@pytest.fixture(scope="session")
def judge(held_out: HeldOut) -> Judge:
    """What scores them."""
    return make_judge(held_out, METRICS)
