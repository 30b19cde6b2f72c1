"""A file system that fills up: at every page that a run and its tools write, one by one."""

from __future__ import annotations

import random
import shutil
import signal
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from jax_impl.runs.folder import CONFIG
from tests.faults.places import PAGE, empty, fill, relieve, small_disk, used_kib
from tests.faults.processes import (
    CHECKPOINTS,
    Ended,
    Process,
    committed,
    contents,
    finish,
    leftovers,
    train,
    unlike_run,
)
from tests.faults.table import Row
from tests.faults.tools import Tool, Workshop, sampled_run, state_of

DISK = 32 * 1024
"""KiB."""
FIELDS = (CONFIG, "data.json", "metrics.jsonl", "training_loss", "training_samples", CHECKPOINTS)


@dataclass
class Outcome:
    """What came of the disks that were full."""

    tried: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def add(self, where: str, ended: Ended, difference: str | None) -> None:
        """Count a training that ended, and note what was wrong with its end or with what it left."""
        self.tried += 1
        self.ended[what_failed(ended)] += 1
        if complaint := ended.complaint(0, 2) or difference:
            self.failures.append(f"{where}: {complaint}")

    def row(self, fault: str, then: str) -> Row:
        """As a row of the table."""
        ends = ", ".join(f"{n} {what}" for what, n in self.ended.most_common())
        return Row(fault, self.tried, len(self.failures), f"{ends}; {then}", tuple(self.failures))


def disks(shop: Workshop, place: Path, count: int, seed: int, log: list[str]) -> list[Row]:
    """Fill disks `count` times under training, evenly over the pages that it writes, and under the tools."""
    rng = random.Random(seed)
    # Together they write all that a run writes: up to its first checkpoint, and with one that may be lost.
    first, words = sampled_run(1), sampled_run(2)
    one_epoch, unbroken = finish(place / "one_epoch", first), finish(place / "unbroken", words)
    base = interrupted(place / "base", words)
    with small_disk(place / "disk", DISK) as disk:
        rows = [
            swept(disk, None, first, one_epoch, count // 2, log),
            swept(disk, base, words, unbroken, count // 2, log),
            midway(disk, words, unbroken, max(3, count // 20), rng, log),
        ]
        # Pictures take a moment each, an export takes longer.
        pages = {name: count // (8 if tool.module == "export.edge" else 20) for name, tool in shop.tools.items()}
        rows += [tool_disks(tool, disk, max(2, pages[name]), log) for name, tool in shop.tools.items()]
    return rows


def interrupted(run: Path, words: list[str]) -> Path:
    """A run that was killed after its first checkpoint."""
    process = train(run, words)
    process.wait_until(lambda: committed(run))
    process.send(signal.SIGKILL)
    return run


def swept(disk: Path, base: Path | None, words: list[str], unbroken: Path, count: int, log: list[str]) -> Row:
    """Train with so little room that each page in turn is the first that is missing; then make room and go on.

    A file system in memory gives out whole pages: these are all the moments at which it can be full, up to `count`.
    """
    outcome = Outcome()
    run = prepare(disk, base)
    most, undisturbed = most_used(disk, train(run, words, beside=str(disk.parent / "train.log")))
    if complaint := undisturbed.complaint(0):
        raise RuntimeError(f"training on a small disk: {complaint}")
    for room in spread(list(range(0, most, PAGE)), count):
        run = prepare(disk, base)
        kept = {step: contents(run / CHECKPOINTS / f"step_{step:08d}") for step in committed(run)}
        fill(disk, room)
        ended = train(run, words, beside=str(disk.parent / "train.log")).end()
        where = f"training {'on from a checkpoint' if base else 'from the start'} with {room} KiB free"
        log.append(f"{where}: {ended.status}, {last_line(ended)}")
        outcome.add(where, ended, lost(run, kept) or resumed(disk, run, words, unbroken))
    fault = f"disk full at each page that is written, training {'on' if base else 'anew'}"
    return outcome.row(fault, "earlier checkpoints intact; with room again, bit-identical")


def midway(disk: Path, words: list[str], unbroken: Path, count: int, rng: random.Random, log: list[str]) -> Row:
    """Take the room away at the first commit, and give it back a while later."""
    outcome = Outcome()
    for n in range(count):
        run = prepare(disk, None)
        process = train(run, words, beside=str(disk.parent / "train.log"))
        process.wait_until(lambda run=run: committed(run))
        room, seconds = PAGE * rng.randrange(0, 64), rng.uniform(0.2, 3.0)
        fill(disk, room)
        kept = {step: contents(run / CHECKPOINTS / f"step_{step:08d}") for step in committed(run)}
        process.wait_for(seconds)
        relieve(disk)
        ended = process.end()
        where = f"{n}, {room} KiB free for {seconds:.2f} s after the first commit"
        log.append(f"{where}: {ended.status}, {last_line(ended)}")
        outcome.add(where, ended, lost(run, kept) or resumed(disk, run, words, unbroken))
    return outcome.row("disk full for a while in mid-run", "earlier checkpoints intact; in the end bit-identical")


def most_used(disk: Path, process: Process) -> tuple[int, Ended]:
    """KiB that a process takes at most beyond what is there now, and how it ended."""
    start, levels = used_kib(disk), {0}
    process.wait_until(lambda: levels.add(used_kib(disk) - start))
    ended = process.end()
    return max(*levels, used_kib(disk) - start), ended


def prepare(disk: Path, base: Path | None) -> Path:
    """An emptied disk, with a copy of `base` where one is given; returns the run folder."""
    empty(disk)
    run = disk / "run"
    if base is not None:
        shutil.copytree(base, run)
    return run


def spread(values: list[int], count: int) -> list[int]:
    """At most `count` of the values, first and last among them, evenly chosen."""
    if len(values) <= count:
        return values
    return [values[round(n * (len(values) - 1) / max(1, count - 1))] for n in range(count)]


def lost(run: Path, kept: dict[int, dict[str, bytes]]) -> str | None:
    """Which of the checkpoints that were committed is gone or changed."""
    for step, files in kept.items():
        folder = run / CHECKPOINTS / f"step_{step:08d}"
        if step not in committed(run) or contents(folder) != files:
            return f"the checkpoint of step {step} is gone or changed"
    return None


def resumed(disk: Path, run: Path, words: list[str], unbroken: Path) -> str | None:
    """Make room and go on; in what it ends otherwise than the unbroken run."""
    relieve(disk)
    try:
        if max(committed(run), default=0) < max(committed(unbroken)):
            finish(run, words, beside=str(disk.parent / "train.log"))
        return unlike_run(run, unbroken)
    except Exception as error:  # whatever it is, it is a finding
        return f"with room again: {' '.join(str(error).split())[:400]}"


def what_failed(ended: Ended) -> str:
    """The exit status, and at which file, as far as it is said."""
    line = last_line(ended)
    at = next((name for name in FIELDS if name in line), "")
    return f"status {ended.status}{f' at {at}' if ended.status and at else ''}"


def last_line(ended: Ended) -> str:
    """What was said last on stderr."""
    return (ended.err.strip().splitlines() or [""])[-1][:300]


def tool_disks(tool: Tool, disk: Path, count: int, log: list[str]) -> Row:
    """Fill the disk at up to `count` pages of what a tool writes, by turns over nothing and over an older result."""
    outcome = Outcome()
    empty(disk)
    folder, prints = disk / "out", disk.parent / "tool.log"
    folder.mkdir()
    most, undisturbed = most_used(disk, tool.run(folder, prints))
    if complaint := undisturbed.complaint(0):
        return Row(f"disk full, {tool.name}", 0, 1, "", (f"it fails with room enough: {complaint}",))
    new = contents(folder / tool.target)
    for n, room in enumerate(spread(list(range(0, most, PAGE)), count)):
        empty(disk)
        folder.mkdir()
        if n % 2:
            tool.put_old(folder)
        fill(disk, room)
        ended = tool.run(folder, prints).end()
        where = f"{tool.name} over {'an older result' if n % 2 else 'nothing'} with {room} KiB free"
        log.append(f"{where}: {ended.status}, {last_line(ended)}")
        outcome.tried += 1
        outcome.ended[f"status {ended.status}"] += 1
        complaint = ended.complaint(0, 2) or state_of(tool, folder, new)
        if not complaint and n % 2 and not (folder / tool.target).exists():
            complaint = "the older result is gone"
        if not complaint and leftovers(folder):
            complaint = f"{leftovers(folder)} temporary files are left"
        relieve(disk)
        if not complaint and (again := tool.run(folder, prints).end().complaint(0)):
            complaint = f"with room again: {again}"
        if complaint := complaint or state_of(tool, folder, new):
            outcome.failures.append(f"{where}: {complaint}")
    return outcome.row(f"disk full, {tool.name}", "absent, old or new as a whole; with room again, it works")
