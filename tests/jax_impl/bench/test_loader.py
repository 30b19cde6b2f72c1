"""The loader's benchmark: every kind of source, each over the same scenes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from export.edge.errors import UserError
from jax_impl.bench.loader import main, pairs_per_second, sources
from jax_impl.config.data import DataConfig
from jax_impl.config.tree import Config, TrainConfig
from jax_impl.data.loader import Pairs, decode, lazy_pairs
from jax_impl.data.sources import open_source


def test_every_source_holds_the_same_scenes_and_delivers(tmp_path: Path) -> None:
    config = Config(data=DataConfig(size=16, synthetic_pairs=6, repeats=1), train=TrainConfig(batch_size=2))
    memory = decode(lazy_pairs(open_source(config.data), config.data, "train"))
    found = dict(sources(config.data, memory, 32, tmp_path))
    assert len(found) == 5
    for name, pairs in found.items():
        held = pairs if isinstance(pairs, Pairs) else decode(pairs)
        # Painted or read at another size, and through JPEG, it is the same scene all the same.
        assert np.abs(held.x0.astype(float) - memory.x0).mean() < 8.0, name
        assert pairs_per_second(dataclasses.replace(config), pairs, 0.01) > 0.0


def test_fewer_pairs_than_a_batch_are_refused() -> None:
    with pytest.raises(UserError, match="--pairs is 4: choose at least --batch-size"):
        main(["tiny", "--pairs", "4"])
