"""A first signal is a wish, a second one an order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from jax_impl.training.interrupt import StopSignal


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_only_asks(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopSignal() as stop:
        assert not stop.requested
        os.kill(os.getpid(), number)
        assert stop.requested
        assert signal.getsignal(number) == signal.SIG_DFL
    assert signal.getsignal(number) == before


TWICE = """
import os, signal, sys, threading, time
from jax_impl.training.interrupt import StopSignal
threading.Thread(target=time.sleep, args=(600,)).start()
with StopSignal():
    os.kill(os.getpid(), int(sys.argv[1]))
    print("asked", flush=True)
    os.kill(os.getpid(), int(sys.argv[2]))
    time.sleep(600)
"""


@pytest.mark.skipif(os.name != "posix", reason="ends by a signal")
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_one_ends_the_process_whatever_its_threads_do(second: signal.Signals) -> None:
    command = [sys.executable, "-c", TWICE, str(int(signal.SIGINT)), str(int(second))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stdout) == (-second, "asked\n")
    assert "again to stop at once" in done.stderr and "Traceback" not in done.stderr


def test_other_threads_may_use_it() -> None:
    seen: list[bool] = []

    def use() -> None:
        with StopSignal() as stop:
            seen.append(stop.requested)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert seen == [False]
