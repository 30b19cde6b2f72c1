"""How a command line ends."""

from __future__ import annotations

import errno
import os
import select
import subprocess
import sys
from collections.abc import Callable

import pytest

from export.edge.errors import UserError, describe_os_error, run


def end(main: Callable[[], object]) -> int:
    with pytest.raises(SystemExit) as stop:
        run(main)
    assert isinstance(stop.value.code, int)
    return stop.value.code


def raising(error: BaseException) -> Callable[[], object]:
    def main() -> None:
        raise error

    return main


def test_success_is_status_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert end(lambda: print("done")) == 0
    assert capsys.readouterr() == ("done\n", "")


def test_a_user_error_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert end(raising(UserError("photo x.jpg\n  is missing;\tcheck the path"))) == 2
    assert capsys.readouterr() == ("", "error: photo x.jpg is missing; check the path\n")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EIO])
def test_an_error_of_the_system_is_one_line_and_status_2(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert end(raising(OSError(number, os.strerror(number), "out.png"))) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and printed.startswith("error: ") and "out.png" in printed


def test_a_full_disk_is_called_so() -> None:
    assert "disk is full" in describe_os_error(OSError(errno.ENOSPC, "No space left on device"))


def test_an_os_error_without_a_number_still_says_something() -> None:
    assert describe_os_error(OSError("Broken plug")) == "broken plug"
    assert describe_os_error(OSError()) == "oSError"


def test_ctrl_c_is_status_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert end(raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "stopped\n"


def test_our_own_mistakes_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run(raising(ZeroDivisionError()))


def test_a_reader_that_goes_away_is_no_error() -> None:
    code = "from export.edge.errors import run; run(lambda: [print('x' * 1000) for _ in range(1000)])"
    writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert writer.stdout is not None and writer.stderr is not None
    writer.stdout.readline()
    writer.stdout.close()
    assert writer.stderr.read() == b""
    writer.stderr.close()
    assert writer.wait() == 0


def test_a_log_shows_each_line_at_once() -> None:
    code = "import sys; from export.edge.errors import run; run(lambda: (print('first'), sys.stdin.read()))"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        # The writer still waits for its input.
        assert select.select([writer.stdout], [], [], 60.0)[0] and writer.stdout.readline() == b"first\n"
        writer.communicate(b"")
    assert writer.returncode == 0


def test_a_message_cannot_drive_or_fill_a_terminal() -> None:
    assert str(UserError("picture \x1b[2J\udcff.png is\nodd")) == r"picture \x1b[2J\udcff.png is odd"
    long = str(UserError("config " + 10**6 * "x" + "; choose another"))
    assert len(long) < 3000 and long.startswith("config x") and long.endswith("; choose another")
