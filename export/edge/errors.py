"""What a command line prints when it cannot go on: one line, exit status 2, no traceback."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable
from typing import NoReturn

_LONGEST = 2000
"""Characters of a message."""


class UserError(Exception):
    """Something the person at the keyboard can mend.

    The message is one line that names the thing, its value and the remedy. What a hostile
    file put into it can neither drive a terminal nor fill it: characters that do not print
    are escaped, and the middle of a very long message is left out.
    """

    def __init__(self, message: str) -> None:
        if len(message) > _LONGEST:
            message = f"{message[: _LONGEST * 2 // 3]} […] {message[-_LONGEST // 3 :]}"
        super().__init__(printable(" ".join(message.split())))


def printable(text: str) -> str:
    """`text` with escapes in place of control characters and of bytes of a file name that are no text."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def describe_os_error(error: OSError) -> str:
    """One line for a failure of the operating system, with the file and a remedy."""
    where = f" at {printable(str(error.filename))}" if error.filename else ""
    remedies = {
        errno.ENOSPC: "the disk is full; free some space or write elsewhere",
        errno.EDQUOT: "the disk quota is used up; free some space or write elsewhere",
        errno.EACCES: "permission denied; choose a place you may read and write",
        errno.EPERM: "not permitted; choose a place you may read and write",
        errno.EROFS: "the file system is read-only; write elsewhere",
        errno.EMFILE: "too many open files; raise the limit with `ulimit -n`",
    }
    number = error.errno if error.errno is not None else 0
    if number in remedies:
        return f"{remedies[number]}{where}"
    reason = error.strerror or str(error) or type(error).__name__
    return f"{reason[:1].lower()}{reason[1:]}{where}"


def run(main: Callable[[], object]) -> NoReturn:
    """Run a command line's `main` and leave with its exit status.

    0 when `main` returns; 2 with one line on stderr for a `UserError` or an error of
    the operating system; 130 for Ctrl-C; 0 when the reader of a pipe has gone away.
    Anything else is a mistake of ours and keeps its traceback.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file's name may be no text in the terminal's encoding; a log that is followed shows each line at once.
        sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    try:
        main()
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        print(f"error: {describe_os_error(error)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)
