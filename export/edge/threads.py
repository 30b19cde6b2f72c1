"""Work shared out among threads: those that the process may use, and what becomes of errors and of Ctrl-C."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

Piece = TypeVar("Piece")


def processors() -> int:
    """The processors that this process may use, at least 1; on Linux, `taskset` and containers can leave it a few."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def started(work: Callable[[], None]) -> threading.Thread | None:
    """A thread that does the work, and does not keep Python from ending; None where the system gives no more."""
    thread = threading.Thread(target=work, daemon=True)
    try:
        thread.start()
    except RuntimeError:  # Such as under a limit on threads or memory.
        return None
    return thread


def share(pieces: Sequence[Piece], begin: Callable[[], Callable[[Piece], None]], most: int) -> None:
    """Do all pieces of a work in this thread and up to `most` - 1 others, each taking the next piece that is left.

    `begin` is called in each thread and gives what does a piece there. Where threads cannot be had, those that there
    are do it all. Raises the first error of any thread, Ctrl-C too: the others then end after their piece.
    """
    left, errors, lock = iter(pieces), list[BaseException](), threading.Lock()

    def taken() -> Iterator[Piece]:
        while not errors:
            with lock:
                piece = list(islice(left, 1))
            if not piece:
                return
            yield piece[0]

    def work() -> None:
        try:
            do = begin()
            for piece in taken():
                do(piece)
        except BaseException as error:
            errors.append(error)

    helpers = [started(work) for _ in range(min(most, len(pieces)) - 1)]
    work()
    for thread in helpers:
        if thread is not None:
            thread.join()
    if errors:
        raise errors[0]
