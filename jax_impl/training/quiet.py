"""What libraries print that helps nobody at the terminal, kept off it."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_orbax() -> Iterator[None]:
    """Keep orbax from printing the traceback of an error that it raises as well.

    Its log is one way; the other is that its C++ writers, still at work when it gave up,
    call an event loop that is closed, which Python prints.
    """
    logger, hook = logging.getLogger("absl"), sys.unraisablehook
    before = logger.disabled

    def print_others(unraisable: sys.UnraisableHookArgs) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            hook(unraisable)

    logger.disabled, sys.unraisablehook = True, print_others
    try:
        yield
    finally:
        logger.disabled, sys.unraisablehook = before, hook


@contextlib.contextmanager
def quiet_matplotlib() -> Iterator[None]:
    """Keep matplotlib from advising to set a variable where its folders in the home cannot be written.

    It takes a temporary folder then, which is all that one plot needs.
    """
    logger = logging.getLogger("matplotlib")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def is_news(record: logging.LogRecord) -> bool:
    """False for asyncio's account of an orbax writer that failed: it comes whenever that is collected, and is known."""
    return "exception was never retrieved" not in record.getMessage()
