"""Batches: the same from memory and from a stream, from any step on, for every host its part."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.edge.errors import UserError
from jax_impl import prepare
from jax_impl.config.data import DataConfig
from jax_impl.config.tree import Config, TrainConfig
from jax_impl.data.batches import batch_indices
from jax_impl.data.loader import LazyPairs, Pairs, open_held_out_pairs, open_pairs
from jax_impl.data.sources import open_source
from jax_impl.runs.folder import DATA, check_data, open_run, write_data
from jax_impl.runs.publishing import final_weights
from jax_impl.train import train
from jax_impl.training.feed import Batches, Feed, Order, Shard, open_feed
from jax_impl.training.stages import denoising
from jax_impl.training.state import to_arrays
from jax_impl.training.step import make_statistics_step
from tests.compiling import known

COUNT, BATCH = 11, 4
CONFIG = Config(
    data=DataConfig(size=16, synthetic_pairs=COUNT, repeats=3, threads=2), train=TrainConfig(batch_size=BATCH, seed=5)
)
DATASET = dataclasses.replace(CONFIG.data, in_memory_mb=0)


@pytest.fixture(scope="module")
def both() -> tuple[Pairs, LazyPairs]:
    """The same pairs in memory and to be read."""
    pairs, source = open_pairs(open_source(CONFIG.data), CONFIG.data), open_pairs(open_source(DATASET), DATASET)
    assert isinstance(pairs, Pairs) and isinstance(source, LazyPairs)
    return pairs, source


def taken(feed: Feed, step: int) -> tuple[np.ndarray, np.ndarray]:
    pairs, indices = feed.batch(step)
    chosen = slice(None) if indices is None else np.asarray(indices)
    return np.asarray(pairs.cond)[chosen], np.asarray(pairs.x0)[chosen]


def test_batches_are_the_same_either_way_from_any_step_on(both: tuple[Pairs, LazyPairs]) -> None:
    pairs, source = both
    with open_feed(pairs, CONFIG) as resident, open_feed(source, CONFIG) as streamed:
        for step in (*range(20), 7, 8, 1_000_000, 1_000_001, 0):
            wanted = batch_indices(5, step, COUNT, 3, BATCH)
            for one, two, whole in zip(
                taken(resident, step), taken(streamed, step), (pairs.cond, pairs.x0), strict=True
            ):
                np.testing.assert_array_equal(one, whole[wanted])
                np.testing.assert_array_equal(two, one)


@given(hosts=st.sampled_from([1, 2, 4]), step=st.integers(0, 100))
def test_the_parts_of_all_hosts_make_up_the_batch(hosts: int, step: int) -> None:
    parts = [Order(COUNT, CONFIG, Shard(i, hosts))(step) for i in range(hosts)]
    assert {len(part) for part in parts} == {BATCH // hosts}
    np.testing.assert_array_equal(np.concatenate(parts), Order(COUNT, CONFIG)(step))


def test_a_stream_reads_its_own_part_alone(both: tuple[Pairs, LazyPairs]) -> None:
    pairs, source = both
    cond, _ = Batches(source, Order(COUNT, CONFIG, Shard(1, 2)))[3]
    np.testing.assert_array_equal(cond, pairs.cond[batch_indices(5, 3, COUNT, 3, BATCH)[2:]])


def test_a_batch_that_hosts_cannot_share_is_refused() -> None:
    with pytest.raises(UserError, match="divided among 3 hosts"):
        Order(COUNT, CONFIG, Shard(0, 3))(0)


def test_an_error_on_a_thread_reaches_the_training(both: tuple[Pairs, LazyPairs]) -> None:
    def broken(i: int) -> tuple[np.ndarray, np.ndarray]:
        raise UserError(f"picture {i} is damaged")

    with (
        open_feed(dataclasses.replace(both[1], read=broken), CONFIG) as feed,
        pytest.raises(UserError, match="is damaged"),
    ):
        feed.batch(0)


def test_without_grain_the_message_names_it(both: tuple[Pairs, LazyPairs], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grain", None)
    open_feed(both[0], CONFIG)
    with pytest.raises(UserError, match=r"data\.in_memory_mb need grain to stream; `pip install grain`"):
        open_feed(both[1], CONFIG)


def test_held_out_pairs_are_at_most_as_many_as_allowed() -> None:
    data = dataclasses.replace(CONFIG.data, synthetic_val_pairs=7)
    every, some = (
        open_held_out_pairs(open_source(data), dataclasses.replace(data, max_val_pairs=most)) for most in (7, 3)
    )
    assert some.names == tuple(every.names[i] for i in (0, 2, 4))
    np.testing.assert_array_equal(some.x0, every.x0[[0, 2, 4]])


def assert_same_state(a: Path, b: Path) -> None:
    left, right = to_arrays(open_run(a).state), to_arrays(open_run(b).state)
    for name, array in left.items():
        np.testing.assert_array_equal(array, right[name], err_msg=name)


def test_training_is_the_same_from_memory_from_a_stream_and_from_a_prepared_data_set(
    small_config: Callable[..., Config], trained_run: Path, tmp_path: Path
) -> None:
    words = ["synthetic", "--size", "16", "--synthetic-pairs", "6", "--synthetic-val-pairs", "3"]
    prepare.main([*words, "--output-dir", str(tmp_path)])
    config = small_config()
    streamed = dataclasses.replace(config.data, in_memory_mb=0)
    prepared = dataclasses.replace(streamed, tfds="paired_images", tfds_dir=str(tmp_path))
    for name, data in (("streamed", streamed), ("prepared", prepared)):
        run = dataclasses.replace(config, data=data)
        pairs = open_pairs(open_source(data), data)
        assert isinstance(pairs, LazyPairs)
        train(run, tmp_path / name, pairs, open_held_out_pairs(open_source(data), data))
        assert_same_state(tmp_path / name, trained_run)
        metrics = [(folder / "metrics.jsonl").read_text() for folder in (tmp_path / name, trained_run)]
        assert metrics[0] == metrics[1]
    # What was begun in memory may go on from a stream, and the other way round.
    pairs = open_pairs(open_source(config.data), config.data)
    assert isinstance(pairs, Pairs)
    assert (
        train(
            config,
            tmp_path / "streamed",
            pairs,
            open_held_out_pairs(open_source(config.data), config.data),
            resume=True,
        )
        == 0
    )


@pytest.mark.slow  # The batches that they follow from are the same to the bit: the test above.
def test_statistics_of_a_bundle_are_the_same_either_way(
    trained_seed_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # To the bit, if XLA writes the loops of both programs as it does for a user.
    monkeypatch.setattr(jax, "jit", partial(jax.jit, compiler_options=known({"xla_cpu_use_fusion_emitters": True})))
    monkeypatch.setattr(denoising, "make_statistics_step", make_statistics_step)  # Not one that is jitted already.
    trained = open_run(trained_seed_run)
    data = dataclasses.replace(trained.config.data, in_memory_mb=0)
    streamed = dataclasses.replace(trained, config=dataclasses.replace(trained.config, data=data))
    wanted, found = (final_weights(run)[1] for run in (trained, streamed))
    pairs = list(zip(*map(jax.tree.leaves, (wanted, found)), strict=True))
    assert pairs
    for a, b in pairs:
        np.testing.assert_array_equal(a, b)


def test_other_pairs_are_noticed_on_resume(tmp_path: Path, both: tuple[Pairs, LazyPairs]) -> None:
    pairs, source = both
    held_out = open_held_out_pairs(open_source(CONFIG.data), CONFIG.data)
    write_data(tmp_path, source, held_out)
    assert len(json.loads((tmp_path / DATA).read_text())["train"]["names"]) == COUNT
    for same in (source, pairs):
        check_data(tmp_path, same, held_out)
    for other in (
        dataclasses.replace(source, read=lambda i: source.read(0)),
        dataclasses.replace(source, origin=lambda: "elsewhere"),
        dataclasses.replace(source, names=source.names[:-1]),
        dataclasses.replace(pairs, cond=pairs.cond ^ 1),
    ):
        with pytest.raises(UserError, match="the train pairs are not those that run"):
            check_data(tmp_path, other, held_out)
