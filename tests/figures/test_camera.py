"""The camera's rate: what the browser's processes take is counted, and what others take is not."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from export.edge.errors import UserError
from tests.figures.camera import main, processor_seconds

BUSY = "import sys, time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\nsys.stdin.read()"


@pytest.mark.skipif(sys.platform != "linux", reason="the figures come from /proc")
def test_processor_seconds_are_those_of_the_processes_below() -> None:
    before = processor_seconds()
    with subprocess.Popen([sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        during = processor_seconds()
        mine = time.process_time() + 0.3
        while time.process_time() < mine:  # This process is none of them.
            pass
        after = processor_seconds()
        child.communicate()
    assert during - before > 0.2
    assert after - during < 0.1


def test_without_chromium_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="chromium is not installed"):
        main(["artifact"])
