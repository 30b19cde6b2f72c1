"""What training prints while it runs, by a clock that the test sets."""

from __future__ import annotations

import pytest

from jax_impl.training.lines import Lines, spoken


def said_by(terminal: bool, times: list[float]) -> list[str]:
    """What is printed of a stage of 1,000 steps that goes on after step 10 at time 0, with a step at each time."""
    said: list[str] = []
    clock = iter([0.0, *times])
    lines = Lines(said.append, lambda: next(clock), terminal)
    lines.on_start(10, 1000)
    for step, _ in enumerate(times, 11):
        lines.on_step(step, {"loss": 0.25})
    return said


def test_it_says_what_was_measured_and_how_long_the_rest_takes() -> None:
    said = said_by(True, [31.0, 33.0, 35.0, 37.0, 90.0])
    assert said[0].startswith("compiling the training step")
    # Steps 12, 13 and 14 took 2 s each: 986 are left.
    assert said[1:] == [
        "the first step took 31 s, compilation included",
        "986 more steps take about 33 min, at 2.00 s a step, and validation, pictures and checkpoints some more",
    ]


def test_without_a_bar_there_is_a_line_every_half_minute() -> None:
    said = said_by(False, [1.0, 6.0, 20.0, 35.9, 36.0, 60.0, 67.0])
    # The estimate comes at 6 s, the lines at least 30 s after what was said before.
    assert [line.split(",")[0] for line in said[3:]] == ["step 15 of 1", "step 17 of 1"]
    assert said[3] == "step 15 of 1,000, loss 0.2500, about 2 h 24 min left"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3.4, "3 s"), (119.0, "119 s"), (120.0, "2 min"), (3570.0, "1 h 0 min"), (9000.0, "2 h 30 min")],
)
def test_times_in_words(seconds: float, words: str) -> None:
    assert spoken(seconds) == words


def test_a_finished_stage_compiles_nothing() -> None:
    said: list[str] = []
    Lines(said.append, lambda: 0.0, True).on_start(9, 9)
    assert said == []
