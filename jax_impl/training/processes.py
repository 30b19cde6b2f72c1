"""Several processes that train one model together: how they find each other, and how they end."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator

import jax

from export.edge.errors import UserError
from jax_impl.devices import LESS_TRAINING, is_out_of_memory, out_of_memory

HEARTBEAT_SECONDS = 30
"""A process that has not been heard of for this long counts as dead, which ends all others."""
_SHUTDOWN_SECONDS = 3600
"""The others wait this long for the first one, which may still be writing the last checkpoint."""
_TIMEOUT_SECONDS = 300
_ENDED = 2
"""The exit status of a UserError."""


def join(coordinator: str, processes: int, process: int, *, detect: bool) -> None:
    """Join the other processes of a run, where it has any; before anything has started JAX's backend.

    coordinator: HOST:PORT of process 0; processes: how many; process: this one's number, from 0.
    With `detect` SLURM, Open MPI or a TPU pod says all three. Raises UserError for what is
    missing, and where the others do not come within five minutes.
    """
    if not detect and not coordinator:
        if processes or process >= 0:
            raise UserError("--processes and --process belong to --coordinator HOST:PORT; give it, or leave them out")
        return
    if coordinator:
        host, _, port = coordinator.rpartition(":")
        if not host or not port.isdecimal():
            raise UserError(f"--coordinator is {coordinator}: choose HOST:PORT of process 0, such as node0:7000")
        if not detect and not 0 <= process < processes:
            raise UserError(
                f"--process is {process} of --processes {processes}: number them from 0 to one below their count"
            )
    # On a CPU alone programs may overtake each other, and then processes meet in different ones.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    try:
        jax.distributed.initialize(
            coordinator or None,
            processes or None,
            None if process < 0 else process,
            cluster_detection_method=None if detect else "deactivate",
            initialization_timeout=_TIMEOUT_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=_SHUTDOWN_SECONDS,
        )
    except (ValueError, RuntimeError) as error:
        what = "give --coordinator, --processes and --process" if detect else "see that all were started, and reach it"
        raise UserError(f"the processes did not find each other ({str(error).splitlines()[0]}); {what}") from error


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """While entered, all but the first process print nothing on stdout, and one that loses another ends at once.

    It ends with a line that says so; to wait for the lost one, as JAX does at exit, would take long.
    """
    if jax.process_count() == 1:
        yield
        return
    silent = io.StringIO() if jax.process_index() else sys.stdout
    try:
        with contextlib.redirect_stdout(silent):
            yield
    except UserError as error:
        _end(str(error))
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        if is_out_of_memory(error):
            _end(str(out_of_memory(error, LESS_TRAINING)))
        # Gloo reports a closed connection as the one or the other.
        first = str(error).splitlines()[0][:200]
        _end(f"another process of this run has ended, or cannot be reached ({first}); start all again with --resume")


def _end(line: str) -> None:
    print(f"error: process {jax.process_index()}: {line}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(_ENDED)
