"""The figures of convolutions: the shapes are those of the network, and every way to write one computes the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from export.edge.errors import UserError
from jax_impl.config.tree import Config, DataConfig, TrainConfig
from jax_impl.model.seed_unet import SeedModelConfig
from jax_impl.model.unet import UNetModelConfig
from tests.figures.convolutions import SETTINGS, check_same, convolutions, main, quartiles, shape_table, step_table
from tests.figures.formulations import DIRECTIONS, Conv, Direction, pytorch, ways

SAME = ((1, 1), (1, 1))


def _of(model: SeedModelConfig | UNetModelConfig) -> dict[Conv, dict[Direction, int]]:
    return convolutions(Config(model=model, data=DataConfig(size=16), train=TrainConfig(batch_size=2)))


def _conv(side: int, before: int, after: int, kernel: int = 3, stride: int = 1) -> Conv:
    x, y = (2, side, side, before), (2, side // stride, side // stride, after)
    return Conv(x, (kernel, kernel, before, after), y, stride, SAME if kernel == 3 else ((0, 0), (0, 0)))


def test_the_shapes_of_the_seed_network() -> None:
    # Width 4. What doubles the side is a matrix product, not a convolution.
    wanted = {
        _conv(16, 6, 4): 1, _conv(16, 4, 4): 2, _conv(16, 8, 4): 1, _conv(16, 4, 3): 1,
        _conv(8, 4, 8): 1, _conv(8, 8, 8): 2, _conv(8, 16, 8): 1,
        _conv(4, 8, 16): 1, _conv(4, 16, 16): 2, _conv(4, 32, 16): 1,
        _conv(2, 16, 32): 1, _conv(2, 32, 32): 3,
    }  # fmt: skip
    found = _of(SeedModelConfig(width=4))
    assert {conv: uses["forward"] for conv, uses in found.items()} == wanted
    assert {conv: uses["weight"] for conv, uses in found.items()} == wanted
    # Nobody asks for the gradient of the pictures.
    assert {conv: uses["input"] for conv, uses in found.items()} == wanted | {_conv(16, 6, 4): 0}


def test_strided_and_single_pixel_convolutions_of_a_residual_network() -> None:
    found = _of(UNetModelConfig(patch=2, width=8, groups=4, multipliers=(1, 2), blocks=1, dropout=0.1))
    every = {"forward": 1, "input": 1, "weight": 1}
    assert found[_conv(8, 8, 8, stride=2)] == every
    # The skips of the blocks that change their channels, and what leads up to the next level.
    assert found[_conv(4, 8, 16, kernel=1)] == found[_conv(8, 16, 8, kernel=1)] == every
    assert found[_conv(4, 16, 8, kernel=1)] == found[_conv(4, 32, 16, kernel=1)] == every
    assert found[_conv(8, 24, 8)] == every | {"input": 0}


@pytest.mark.parametrize("conv", [_conv(4, 5, 3), _conv(6, 3, 4, stride=2), _conv(4, 3, 2, kernel=1)], ids=str)
def test_every_way_computes_what_pytorch_does(conv: Conv) -> None:
    rng = np.random.default_rng(1)
    x, w, g = (rng.standard_normal(shape, np.float32) for shape in (conv.x, conv.w, conv.y))
    for direction in DIRECTIONS:
        racers = {"PyTorch": pytorch(conv, direction, x, w, g), **ways(conv, direction, x, w, g)}
        assert {"XLA", "NCHW", "patches", "filled"} < set(racers)
        check_same(conv, direction, racers)
        wrong = ways(conv, direction, 2 * x, 2 * w, 2 * g)["XLA"]
        with pytest.raises(AssertionError, match="XLA"):
            check_same(conv, direction, {"PyTorch": racers["PyTorch"], "XLA": wrong})


def test_ratios_are_taken_turn_by_turn() -> None:
    # A busy machine that slows both by the same factor in a turn leaves the ratio alone.
    assert quartiles([2.0, 20.0, 200.0], [1.0, 10.0, 100.0]) == [2.0, 2.0, 2.0]


def test_the_tables() -> None:
    ratios = {"PyTorch": [1.0] * 3, "XLA": [1.9, 2.0, 2.1], "taps": [3.0] * 3, "patches": [0.5] * 3}
    row = {
        "conv": "a",
        "direction": "weight",
        "uses": 3,
        "milliseconds": {"PyTorch": 1.0, "XLA": 2.0},
        "ratios": ratios,
    }
    other = row | {"conv": "b", "uses": 1}
    lines = shape_table([row, other])
    assert lines[2:] == [
        f"| {name} | weight | {uses} | 1.00 | {share} % | 2.00 (1.90–2.10) | patches 0.50 | taps 3.00 |"
        for name, uses, share in (("a", 3, "75.0"), ("b", 1, "25.0"))
    ]
    steps = {
        "good": {"seconds": [0.5, 0.25, 0.5], "ratio": [0.9, 1.0, 1.1]},
        "bad": {"seconds": [], "error": "no flag"},
    }
    assert step_table(steps)[2:] == ["| good | 500.0 | 1.000 (0.900–1.100) |", "| bad | no flag | |"]


def test_settings_differ_from_what_comes(tmp_path: Path) -> None:
    assert SETTINGS["as it comes"] == {} and len({str(one) for one in SETTINGS.values()}) == len(SETTINGS)
    with pytest.raises(UserError, match="--rounds 0"):
        main(["--output", str(tmp_path / "x.json"), "--rounds", "0"])
    with pytest.raises(UserError, match="'none' is none of them"):
        main(["--output", str(tmp_path / "x.json"), "--settings", "none"])
    assert not list(tmp_path.iterdir())
