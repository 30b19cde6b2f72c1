"""The model's file, opened while a command loads the rest and reads a photo: the slowest part of a start."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from export.edge.model.layout import model_file
from export.edge.model.sealed import Opened, open_sealed
from export.edge.threads import started


@contextmanager
def begun(arguments: argparse.Namespace) -> Iterator[Callable[[], Opened] | None]:
    """What waits for the model's file and returns it, or raises why it cannot be opened; None with --graph.

    `arguments`: of `export.edge.arguments`, with a model.
    """
    if arguments.graph:
        yield None
        return
    found: list[Opened] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            file = model_file(arguments.model, arguments.variant)
            found.append(open_sealed(file, arguments.threads, arguments.expect_sha256))
        except BaseException as error:
            errors.append(error)

    def wait() -> Opened:
        if thread is not None:
            thread.join()
        elif not found and not errors:
            work()
        if errors:
            raise errors[0]
        return found[0]

    # Both sides use it, and a module that two threads begin to load at once may be seen half loaded.
    import numpy  # noqa: F401

    # (concurrent.futures does the same, and takes long to load.)
    thread = started(work)
    try:
        yield wait
    finally:
        if thread is not None:
            thread.join()  # Python must not end while onnxruntime is at work.
