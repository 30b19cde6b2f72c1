"""Which pairs are held out."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_impl.data.splits import hold_out, scene_of


@pytest.mark.parametrize(
    ("stem", "scene"),
    [
        ("church_square_00", "church_square"),
        ("frame (12)", "frame"),
        ("2023-06-13T12_25_28", "2023-06-13"),
        ("cam2_20230613_122528", "cam2_20230613"),
        ("0017", ""),
        ("harbour", "harbour"),
    ],
)
def test_scene_of_a_name(stem: str, scene: str) -> None:
    assert scene_of(stem) == scene


Row = tuple[str, str, tuple[str, ...]]


def columns(rows: list[Row]) -> tuple[list[str], list[str], list[tuple[str, ...]]]:
    return [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]


@given(
    scenes=st.lists(st.integers(0, 6), min_size=1, max_size=40),
    share=st.floats(0.01, 0.99),
    shared=st.booleans(),
    seed=st.integers(0, 5),
)
def test_holding_out_never_empties_training_and_ignores_the_order(
    scenes: list[int], share: float, shared: bool, seed: int
) -> None:
    pairs: list[Row] = [(f"s{s}_{i}", f"s{s}", (f"file{s if shared else i}",)) for i, s in enumerate(scenes)]
    held = hold_out(*columns(pairs), share).held
    if len(pairs) > 1:
        assert 0 < len(held) < len(pairs)
    else:
        assert not held
    if len(set(scenes)) >= 3:
        assert not {scenes[i] for i in held} & {scenes[i] for i in range(len(scenes)) if i not in held}
    shuffled = random.Random(seed).sample(pairs, len(pairs))
    again = hold_out(*columns(shuffled), share).held
    assert {shuffled[i][0] for i in again} == {pairs[i][0] for i in held}


@given(count=st.integers(4, 200), share=st.floats(0.05, 0.5))
def test_pairs_without_scenes_are_held_out_by_the_share(count: int, share: float) -> None:
    labels = [str(i) for i in range(count)]
    held = hold_out(labels, [""] * count, [[label] for label in labels], share).held
    assert len(held) == max(1, round(share * count))


def test_pairs_that_have_a_picture_in_common_stay_together() -> None:
    files = [("a", f"t{i}") for i in range(5)] + [("b", f"u{i}") for i in range(5)]
    choice = hold_out([str(i) for i in range(10)], [""] * 10, files, 0.1)
    assert choice.held in ({0, 1, 2, 3, 4}, {5, 6, 7, 8, 9})
