"""The model's file, opened while a command loads the rest and reads a photo: the slowest part of a start."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from export.edge.model.layout import model_file
from export.edge.model.sealed import Opened, open_sealed
from export.edge.pretrained import or_pretrained


@contextmanager
def begun(arguments: argparse.Namespace) -> Iterator[Callable[[], Opened] | None]:
    """What waits for the model's file and returns it, or raises why it cannot be opened; None with --graph.

    The words of the command line get the model that comes with the package where they name none. Raises UserError as
    `or_pretrained` does.
    """
    arguments.model = or_pretrained(arguments.model, arguments.photo)
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
        thread.join()
        if errors:
            raise errors[0]
        return found[0]

    # Both sides use it, and a module that two threads begin to load at once may be seen half loaded.
    import numpy  # noqa: F401

    # (concurrent.futures does the same, and takes long to load.)
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield wait
    finally:
        thread.join()  # Python must not end while onnxruntime is at work.
