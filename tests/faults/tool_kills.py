"""SIGKILL while a bundle, an artifact or a picture is written: what bears its final name is whole, old or new."""

from __future__ import annotations

import random
import signal
from pathlib import Path

from tests.faults.processes import contents, leftovers
from tests.faults.table import Row
from tests.faults.tools import Tool, Workshop, state_of

SHARES = {"bundle": 0.15, "export": 0.2, "edge, a photo": 0.3, "edge, a folder of photos": 0.35}


def tool_kills(shop: Workshop, place: Path, count: int, seed: int, log: list[str]) -> list[Row]:
    """Kill `count` times in all, half at random times and half before calls that change the folder."""
    rng = random.Random(seed)
    return [kill(shop.tools[name], place, max(4, int(count * share)), rng, log) for name, share in SHARES.items()]


def kill(tool: Tool, place: Path, count: int, rng: random.Random, log: list[str]) -> Row:
    """Kill one tool `count` times, each time over nothing or over an older result."""
    stem = tool.name.replace(", ", "_").replace(" ", "_")
    reference = fresh(place / f"{stem}_new")
    events, prints = place / f"{stem}.count", place / f"{stem}.log"
    calls: dict[bool, int] = {}
    for old in (False, True):
        # Over an older result last: its calls are other ones.
        folder = fresh(place / f"{stem}_calls{int(old)}")
        if old:
            tool.put_old(folder)
        process = tool.run(folder, prints, {"FAULT_KILL": f"0:{folder}:{events}"})
        if complaint := process.end().complaint(0):
            return Row(f"kill -9, {tool.name}", 0, 1, "", (f"it fails unharmed: {complaint}",))
        calls[old] = int(events.read_text())
    process = tool.run(reference, prints)
    failures = [complaint] if (complaint := process.end().complaint(0)) else []
    seconds, new = process.age(), contents(reference / tool.target)
    left = struck = 0
    for n in range(count):
        old, timed = bool(n % 2), bool(n // 2 % 2)
        folder = fresh(place / f"{stem}_{n}")
        if old:
            tool.put_old(folder)
        if timed:
            process = tool.run(folder, prints)
            moment = f"after {(delay := rng.uniform(0, 1.05 * seconds)):.3f} s"
            process.wait_for(delay)
            ended = process.send(signal.SIGKILL)
        else:
            call = rng.randint(1, calls[old])
            moment = f"before call {call} of {calls[old]} that change the folder"
            ended = tool.run(folder, prints, {"FAULT_KILL": f"{call}:{folder}:{events}"}).end()
        struck += ended.status == -signal.SIGKILL
        where = f"{tool.name} over {'an older result' if old else 'nothing'}, killed {moment}"
        log.append(where)
        if complaint := ended.complaint(-signal.SIGKILL, 0) or state_of(tool, folder, new):
            failures.append(f"{where}: {complaint}")
        elif old and not (folder / tool.target).exists():
            failures.append(f"{where}: the older result is gone")
        left += leftovers(folder)
    again = tool.run(folder, prints).end()
    if complaint := again.complaint(0) or state_of(tool, folder, new):
        failures.append(f"{tool.name}, again after a kill: {complaint}")
    outcome = f"{struck} struck; absent, old or new as a whole; {left} temporary files and folders left behind"
    return Row(f"kill -9, {tool.name}", count, len(failures), outcome, tuple(failures))


def fresh(folder: Path) -> Path:
    """A new, empty folder."""
    folder.mkdir()
    return folder
