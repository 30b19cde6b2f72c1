"""Faults of the kind that converted weights are shipped with, planted in whole networks: the ladder must see each."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
from torch import nn

from tests.parity.conftest import SLOW_FOR_TINY
from tests.parity.ladder import Line
from tests.parity.network import forward
from tests.parity.subject import Subject, with_weights

only_seed = pytest.mark.parametrize("subject", ["seed"], indirect=True)


def failed(lines: list[Line]) -> set[str]:
    """What failed, without shapes."""
    return {f"{one.what.partition(', ')[0]}, {one.dtype}" for one in lines if not one.passed}


def with_change(subject: Subject, change: Callable[[nn.Module], None]) -> Subject:
    """The subject with something else in torch's network."""
    model = copy.deepcopy(subject.bundle.model)
    model.apply(change)
    return replace(subject, bundle=replace(subject.bundle, model=model))


@pytest.mark.parametrize("subject", SLOW_FOR_TINY, indirect=True)
def test_a_swapped_axis_is_caught_in_every_block(subject: Subject) -> None:
    weights = subject.flat()
    names = [name for name in weights if name.endswith("conv2.kernel")]
    assert len(names) > 4
    # Large enough that a 3×3 kernel reaches beyond its centre on the deepest level too.
    side = 2 * subject.config.data.size
    for name in names:
        _, params, stats = with_weights(subject.config, weights | {name: weights[name].transpose(1, 0, 2, 3)})
        line = next(forward(replace(subject, params=params, stats=stats), (2, side, side), "float32"))
        assert not line.passed, name
        # Not by a hair: ten times what is let through, even where a level adds little to the output.
        assert line.error > 10 * line.tolerance, name


@only_seed
def test_a_batch_norm_momentum_of_0_99_is_caught(subject: Subject) -> None:
    def change(module: nn.Module) -> None:
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.01  # torch's word for a momentum of 0.99

    assert failed(list(forward(with_change(subject, change), (3, 16, 24), "float32"))) == {
        "worst of the running statistics, float32"
    }


@only_seed
def test_a_running_variance_without_n_over_n_minus_1_is_caught(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In `count / max(count - 1, 1)` the divisor becomes the count itself.
    monkeypatch.setattr("jax_impl.model.blocks.max", lambda less, _: less + 1, raising=False)
    # A shape that no other test has compiled.
    assert failed(list(forward(subject, (3, 24, 16), "float32"))) == {"worst of the running statistics, float32"}


@pytest.mark.parametrize("subject", ["seed", "quick", pytest.param("tiny", marks=pytest.mark.slow)], indirect=True)
def test_an_epsilon_of_1e_6_is_caught(subject: Subject) -> None:
    def change(module: nn.Module) -> None:
        if isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            module.eps = 1e-6

    side = subject.config.data.size
    assert "forward, float64" in failed(list(forward(with_change(subject, change), (2, side, side), "float64")))
