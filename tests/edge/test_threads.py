"""Work shared out among threads: all of it is done, once, whatever fails, and Ctrl-C ends it soon."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from export.edge.threads import processors, share, started

LONG = 30.0
"""Seconds after which what was waited for will not come."""


@pytest.mark.parametrize(("pieces", "most"), [(0, 4), (1, 4), (3, 1), (100, 3)])
def test_each_piece_is_done_once_by_what_its_own_thread_began(pieces: int, most: int) -> None:
    begun, done = list[threading.Thread](), list[tuple[int, threading.Thread]]()

    def begin() -> Callable[[int], None]:
        mine = threading.current_thread()
        begun.append(mine)
        return lambda piece: done.append((piece, mine))

    share(range(pieces), begin, most)
    assert sorted(piece for piece, _ in done) == list(range(pieces))
    assert len(set(begun)) == len(begun) == max(1, min(pieces, most)) and threading.current_thread() in begun


def test_threads_work_at_the_same_time() -> None:
    together, places = threading.Barrier(3), list[int]()
    share(range(3), lambda: lambda _: places.append(together.wait(LONG)), 3)
    assert sorted(places) == [0, 1, 2]


@pytest.mark.parametrize("where", ["begin", "piece"])
def test_what_fails_in_another_thread_is_raised_and_ends_the_work(where: str) -> None:
    failed, done = threading.Event(), list[int]()

    def fail() -> None:
        failed.set()
        raise MemoryError(where)

    def begin() -> Callable[[int], None]:
        other = threading.current_thread() is not threading.main_thread()
        if other and where == "begin":
            fail()

        def do(piece: int) -> None:
            if other:
                fail()
            assert failed.wait(LONG)
            done.append(piece)

        return do

    with pytest.raises(MemoryError, match=where):
        share(range(10_000), begin, 2)
    assert len(done) < 5_000


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Python's own handler of the signal, which workers of pytest-xdist ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_ends_the_others_after_their_piece() -> None:
    interrupted, done = threading.Event(), list[int]()

    def do(piece: int) -> None:
        if threading.current_thread() is threading.main_thread():
            try:
                signal.raise_signal(signal.SIGINT)
            finally:
                interrupted.set()
        assert interrupted.wait(LONG)
        done.append(piece)

    with pytest.raises(KeyboardInterrupt):
        share(range(10_000), lambda: do, 3)
    assert len(done) < 5_000
    assert not [thread for thread in threading.enumerate() if "work" in thread.name]


@pytest.mark.usefixtures("no_more_threads")
def test_without_other_threads_this_one_does_it_all() -> None:
    assert started(lambda: None) is None
    done = list[tuple[int, threading.Thread]]()
    share(range(5), lambda: lambda piece: done.append((piece, threading.current_thread())), 3)
    assert done == [(piece, threading.current_thread()) for piece in range(5)]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_processors_are_those_of_the_process() -> None:
    before = os.sched_getaffinity(0)
    assert processors() == len(before)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert processors() == 1
    finally:
        os.sched_setaffinity(0, before)
