"""Signals, a second process, a clock that jumps and folders that may not be written."""

from __future__ import annotations

import random
import shutil
import signal
from collections import Counter
from pathlib import Path

from jax_impl.runs.folder import CONFIG
from tests.faults.kills import Campaign, begin, logged
from tests.faults.places import empty, forbidden, small_disk
from tests.faults.processes import Process, committed, contents, finish, leftovers, train, unlike_run
from tests.faults.table import Row
from tests.faults.tools import Workshop

DAYS = 86400.0
SIGNALS = (signal.SIGTERM, signal.SIGINT)


def signals(folder: Path, count: int, seed: int, log: list[str], epochs: int = 6) -> list[Row]:
    """Stop runs by signals, `count` times in all; start a second process; let the clock jump."""
    campaign, rng = begin(folder, epochs), random.Random(seed)
    campaign.log = log
    rows = [stopped(campaign, folder, number, (count + 1) // 2, rng) for number in SIGNALS]
    rows.append(second_process(campaign, folder, max(2, count // 10)))
    rows += [clock_jump(campaign, folder, days) for days in (3, -3)]
    return rows


def stopped(campaign: Campaign, folder: Path, number: signal.Signals, count: int, rng: random.Random) -> Row:
    """Stop runs at random moments, three times each, and let them end."""
    failures: list[str] = []
    ends: Counter[str] = Counter()
    done = runs = 0
    while done < count:
        run = folder / f"{number.name.lower()}{runs}"
        runs += 1
        for _ in range(min(3, count - done)):
            size = logged(run)
            process = train(run, campaign.words)
            # Before the first step it is the interpreter's start that is stopped: once in a while only.
            if rng.random() < 0.8:
                process.wait_until(lambda run=run, size=size: logged(run) > size)
            alive = process.wait_for(delay := rng.uniform(0, 2 * campaign.epoch))
            ended = process.send(number)
            note = f"{run.name}: {number.name} {delay:.2f} s past its mark, ended with {ended.status}"
            campaign.log.append(note)
            done += 1
            # A process that is ended by a signal gives the shell the same 128 + n.
            allowed = (128 + number, -number) if "parameters," not in ended.out else (128 + number,)
            if ended.status == 0 and (not alive or "run folder:" in ended.out):
                ends["were over before"] += 1
                break
            ends[f"exit status {128 + number}"] += ended.status in allowed
            # Ctrl-C while modules are imported is Python's own matter.
            told = "Traceback" in ended.err and "parameters," in ended.out
            if ended.status not in allowed or told:
                failures.append(f"{note}: {ended.complaint(*allowed) or 'a traceback'}")
        if complaint := ends_like(run, campaign):
            failures.append(f"{run.name}: {complaint}")
    outcome = f"{', '.join(f'{n} {what}' for what, n in ends.items() if n)}; {runs} runs went on, bit-identical"
    return Row(f"{number.name} at random moments", done, len(failures), outcome, tuple(failures))


def ends_like(run: Path, campaign: Campaign) -> str | None:
    """Let a run end; in what it is unlike the unbroken one."""
    try:
        if max(committed(run), default=0) < max(committed(campaign.unbroken)):
            finish(run, campaign.words)
        return unlike_run(run, campaign.unbroken)
    except Exception as error:  # whatever it is, it is a finding
        return " ".join(str(error).split())[:400]


def second_process(campaign: Campaign, folder: Path, count: int) -> Row:
    """Start a second process on a run folder in use: it must refuse, and the first must not notice."""
    failures: list[str] = []
    for n in range(count):
        run = folder / f"shared{n}"
        first = train(run, campaign.words)
        reached = (lambda run=run: committed(run)) if n % 2 else (lambda run=run: (run / CONFIG).exists())
        first.wait_until(reached)
        second = train(run, campaign.words, beside=str(folder / f"second{n}.log"))
        ended = second.end()
        if complaint := ended.complaint(2):
            failures.append(f"second process on {run.name}: {complaint}")
        if complaint := first.end().complaint(0) or ends_like(run, campaign):
            failures.append(f"first process on {run.name}: {complaint}")
    outcome = "the second refuses in one line, the first ends bit-identical"
    return Row("two processes on one run folder", count, len(failures), outcome, tuple(failures))


def clock_jump(campaign: Campaign, folder: Path, days: int) -> Row:
    """Let the process's clock jump at the first commit, and again after a resume from there."""
    run = folder / f"clock{days}"
    commit = run / "model_checkpoints" / "step_00000010.json"
    extra = {"FAULT_CLOCK": f"{days * DAYS}:{commit}"}
    process = train(run, campaign.words, extra)
    process.wait_until(lambda: len(committed(run)) > 2)
    process.send(signal.SIGKILL)
    ended = train(run, campaign.words, extra).end()
    complaint = ended.complaint(0) or ends_like(run, campaign)
    failures = (f"{run.name}: {complaint}",) if complaint else ()
    return Row(f"the clock jumps by {days:+d} days in mid-run", 1, len(failures), "bit-identical", failures)


def read_only(shop: Workshop, place: Path) -> list[Row]:
    """Write where that is forbidden, and read there."""
    failures: list[str] = []
    with small_disk(place / "forbidden", 32 * 1024) as disk:
        tried = 0
        for tool in shop.tools.values():
            empty(disk)
            (disk / "out").mkdir()
            tool.put_old(disk / "out")
            before = contents(disk / "out")
            with forbidden(disk):
                ended = Process(tool.module, tool.words(disk / "out"), place / "tool.log").end()
            tried += 1
            if complaint := ended.complaint(2):
                failures.append(f"{tool.name} into a read-only folder: {complaint}")
            if contents(disk / "out") != before or leftovers(disk / "out"):
                failures.append(f"{tool.name} into a read-only folder changed it")
        empty(disk)
        run = disk / "run"
        shutil.copytree(shop.run, run)
        before = contents(run)
        output = place / "from_read_only.safetensors"
        commands = {
            "resuming": ("jax_impl.train", ["--resume", "--output-dir", str(run), "--train.epochs", "99"], 2),
            "training anew": ("jax_impl.train", ["tiny", "--output-dir", str(disk / "new"), "--data.size", "16"], 2),
            "bundling out of": ("jax_impl.bundle", ["--run", str(run), "--output", str(output)], 0),
        }
        for what, (module, words, status) in commands.items():
            with forbidden(disk):
                ended = Process(module, words, place / "run.log").end()
            tried += 1
            if complaint := ended.complaint(status):
                failures.append(f"{what} a read-only folder: {complaint}")
        if contents(run) != before:
            failures.append("a read-only run has changed")
    outcome = "one line and exit status 2; a read-only run can be bundled"
    return [Row("read-only folders", tried, len(failures), outcome, tuple(failures))]
