"""A campaign of broken inputs over all doors, each tried in a process that is watched."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.fuzz.shares import SHARES
from tests.faults.table import Row

ROOT = Path(__file__).resolve().parents[3]
SECONDS = 10.0
"""Of processor time: after so long an input has hung its process."""
PATIENCE = 6
"""How many times as long it may take by the clock, on a machine that has other work."""
STARTING = 180.0
MOST_MEMORY = 2 * 2**30
"""Bytes that the process may have held at its peak."""
BATCH = 200


@dataclass
class Worker:
    """A process of `tests.faults.fuzz.worker`."""

    folder: Path
    command: Sequence[str] = (sys.executable, "-m", "tests.faults.fuzz.worker")
    process: subprocess.Popen = field(init=False)
    buffer: bytes = b""

    def __post_init__(self) -> None:
        environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "200",
        }
        command = [*self.command, str(self.folder)]
        with (self.folder / "worker.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )
        kind, detail = self.answer(STARTING)
        if kind != "ready":
            raise RuntimeError(f"the worker did not start: {kind} {detail}; see {self.folder / 'worker.log'}")

    def ask(self, door: str, seed: int, count: int, first: int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{door} {seed} {count} {first}\n".encode())
        self.process.stdin.flush()

    def answer(self, seconds: float = SECONDS) -> tuple[str, str]:
        """The next line, or what became of the process: hang, memory or death; it is gone then."""
        assert self.process.stdout is not None
        end, spent = time.monotonic() + PATIENCE * seconds, self._spent() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while b"\n" not in self.buffer:
                if time.monotonic() > end or self._spent() > spent:
                    return self._stop("hang", f"over {seconds:.0f} s")
                if (held := self._peak()) > MOST_MEMORY:
                    return self._stop("memory", f"{held / 2**30:.1f} GB")
                if selector.select(0.2):
                    data = os.read(self.process.stdout.fileno(), 65536)
                    if not data:
                        self.process.wait()
                        return ("death", f"status {self.process.returncode}")
                    self.buffer += data
        if (held := self._peak()) > MOST_MEMORY:
            return self._stop("memory", f"{held / 2**30:.1f} GB")
        line, _, self.buffer = self.buffer.partition(b"\n")
        kind, detail = json.loads(line)
        return kind, detail

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()

    def _stop(self, kind: str, detail: str) -> tuple[str, str]:
        self.close()
        return kind, detail

    def _spent(self) -> float:
        """Seconds of processor time that the process has used (proc(5), fields 14 and 15 of stat)."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _peak(self) -> int:
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return 0
        return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0)


def campaign(inputs: int, seed: int, folder: Path, doors: Sequence[str] = tuple(SHARES)) -> list[Row]:
    """Try so many inputs, divided among all doors, at these of them; a Row for each.

    What ends otherwise than fine or refused in one line is kept in `folder`, and named in the Row.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    total = sum(SHARES.values())
    place = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        worker = Worker(place)
        rows = []
        for door in doors:
            row, worker = _door(worker, door, -(-inputs * SHARES[door] // total), seed, folder)
            rows.append(row)
            print(f"{door}: {row.tried} tried, {row.wrong} wrong", file=sys.stderr, flush=True)
        worker.close()
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return rows


def _door(worker: Worker, door: str, wanted: int, seed: int, folder: Path) -> tuple[Row, Worker]:
    outcomes: Counter[str] = Counter()
    failures = []
    done = batch = 0
    while done < wanted:
        size, first = min(BATCH, wanted - done), 0
        while first < size:
            worker.ask(door, seed * 1_000_003 + batch, size, first)
            while first < size:
                kind, detail = worker.answer(STARTING)  # Making a batch may take long; each input then has its limit.
                if kind == "start":
                    kind, detail = worker.answer()
                first += 1
                outcomes[kind] += 1
                if kind not in ("fine", "refused in one line"):
                    kept = _keep(worker, door, first - 1, folder)
                    failures.append(f"{door}, {kind}: {kept} ({' '.join(detail.split())[-400:]})")
                if worker.process.poll() is not None:
                    worker = Worker(worker.folder)
                    break
        done, batch = done + size, batch + 1
    good = ", ".join(f"{outcomes[kind]:,} {kind}" for kind in ("fine", "refused in one line"))
    return Row(f"broken input: {door}", wanted, len(failures), good, tuple(failures)), worker


def _keep(worker: Worker, door: str, index: int, folder: Path) -> Path:
    """Copy the input of a batch that went wrong: its own file where the process wrote one, else the last it met."""
    failed = list(worker.folder.glob(f"failed-{index}.*"))
    met = max(worker.folder.glob("input.*"), key=lambda path: path.stat().st_mtime_ns)
    kept = folder / door
    kept.mkdir(exist_ok=True)
    target = kept / f"{len(list(kept.iterdir())):03d}{met.suffix}"
    shutil.copyfile(failed[0] if failed else met, target)
    for path in failed:
        path.unlink()
    return target
