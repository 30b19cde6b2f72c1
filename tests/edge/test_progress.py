"""The progress bar, with a clock of our own."""

from __future__ import annotations

import io

from export.edge.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_on_a_terminal_a_bar_is_drawn_over_itself() -> None:
    stream, clock = Terminal(), Clock()
    progress = Progress(stream, clock)
    for done in (1, 2):
        clock.now += 30.0
        progress.update(done, 4)
    progress.close()
    drawn = stream.getvalue().split("\r\x1b[2K")[1:]
    assert drawn[0] == "[#######.......................] step 1/4, 30000 ms/step, 1:30 left"
    assert drawn[1] == "[###############...............] step 2/4, 30000 ms/step, 1:00 left\n"


def test_on_a_terminal_the_length_is_told_before_the_work() -> None:
    stream = Terminal()
    progress = Progress(stream, Clock(), noun="window")
    progress.update(0, 690)
    assert stream.getvalue() == "\r\x1b[2K[..............................] window 0/690"
    progress.close()
    assert stream.getvalue().endswith("\n")


def test_hours_are_shown_as_hours() -> None:
    stream, clock = Terminal(), Clock()
    progress = Progress(stream, clock)
    clock.now += 3600.0
    progress.update(1, 3)
    assert stream.getvalue().endswith("2:00:00 left")


def test_elsewhere_there_is_one_line_at_the_end() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, clock)
    for done in range(1, 6):
        clock.now += 0.012
        progress.update(done, 5)
        assert stream.getvalue() == ""
    progress.close()
    assert stream.getvalue() == "step 5/5, 12 ms/step\n"


def test_elsewhere_a_long_run_says_so_once_it_can_tell() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, clock, noun="window")
    clock.now += 50.0  # Getting ready does not count.
    for done in range(4):
        progress.update(done, 100)
        clock.now += 0.7
    assert stream.getvalue() == "window 2/100, 700 ms/window, 1:09 left\n"
    progress.close()
    assert stream.getvalue().splitlines()[1:] == ["window 3/100, 933 ms/window"]


def test_a_line_said_in_between_takes_the_bars_place() -> None:
    for stream, expected in ((Terminal(), "\r\x1b[2Kskipped: a\n"), (io.StringIO(), "skipped: a\n")):
        progress = Progress(stream, Clock())
        progress.say("skipped: a")
        progress.close()
        assert stream.getvalue() == expected


def test_nothing_is_said_when_nothing_was_done() -> None:
    for stream in (io.StringIO(), Terminal()):
        Progress(stream).close()
        assert stream.getvalue() == ""
