"""SIGKILL at random moments of a training: every commit stays, every resumed run ends as if nothing had happened."""

from __future__ import annotations

import random
import re
import signal
from dataclasses import dataclass, field
from pathlib import Path

from jax_impl.runs.folder import CONFIG
from jax_impl.training.report import METRICS_LOG
from tests.faults.processes import (
    STEPS_PER_EPOCH,
    Arrays,
    committed,
    finish,
    small_run,
    stored,
    train,
    uncommitted,
    unlike,
    unlike_run,
)
from tests.faults.table import Row

AIMS = {
    "any": "at any time",
    "start": "while it starts",
    "resume": "while it takes up a checkpoint",
    "step": "between steps",
    "save": "0 to 50 ms into a save",
}
MIX = ("any", "any", "any", "start", "resume", "step", "save", "save", "save")
RESUMED = re.compile(r"resuming after step (\d+)")


@dataclass
class Campaign:
    """One unbroken run, and what came of those that were killed."""

    unbroken: Path
    words: list[str]
    startup: float
    """Seconds until the first step is logged."""
    epoch: float
    """Seconds an epoch takes."""
    tried: dict[str, int] = field(default_factory=lambda: dict.fromkeys(AIMS, 0))
    failures: dict[str, list[str]] = field(default_factory=lambda: {aim: [] for aim in (*AIMS, "run", "commit")})
    runs: int = 0
    commits: int = 0
    resumes: int = 0
    log: list[str] = field(default_factory=list)
    arrays: dict[int, Arrays] = field(default_factory=dict)


def begin(folder: Path, epochs: int, warm: bool = True) -> Campaign:
    """Train the unbroken run, and take its times: after all is compiled, or with that."""
    words = small_run(epochs)
    if warm:
        finish(folder / "warm", small_run(1))
    unbroken = folder / "unbroken"
    process = train(unbroken, words)
    process.wait_until(lambda: logged(unbroken))
    startup = process.age()
    ended = process.end()
    if complaint := ended.complaint(0):
        raise RuntimeError(f"the unbroken run failed: {complaint}")
    return Campaign(unbroken, words, startup, (process.age() - startup) / epochs)


def logged(run: Path) -> int:
    """Bytes in the log."""
    return (run / METRICS_LOG).stat().st_size if (run / METRICS_LOG).exists() else 0


def kill_once(campaign: Campaign, run: Path, aim: str, rng: random.Random) -> bool:
    """Start or resume a run and kill it at a moment of that kind; False where it was over before."""
    before, size, open_saves = committed(run), logged(run), uncommitted(run)
    going_on = (run / CONFIG).exists()
    process = train(run, campaign.words)
    delay = 0.0
    if aim == "any":
        delay = rng.uniform(0, campaign.startup + 4 * campaign.epoch)
    elif aim == "start":
        delay = rng.uniform(0, campaign.startup)
    elif aim == "resume":
        process.wait_until(lambda: "resuming" in process.out() or logged(run) != size)
        delay = rng.uniform(0, campaign.startup / 2)
    elif aim == "step":
        process.wait_until(lambda: logged(run) > size)
        delay = rng.uniform(0, campaign.epoch)
    else:
        seen: set[str] = set()
        wanted = rng.randint(1, 3)

        def saving() -> bool:
            seen.update(name.lstrip(".").split(".")[0] for name in uncommitted(run) - open_saves)
            return len(seen) >= wanted

        process.wait_until(saving)
        delay = rng.uniform(0, 0.05)
    alive = process.wait_for(delay)
    age, ended = process.age(), process.send(signal.SIGKILL)
    after = committed(run)
    note = f"{run.name}: {aim}, after {age:.3f} s, {delay:.3f} s past its mark; commits {sorted(after)}"
    campaign.log.append(note)
    if alive:
        campaign.tried[aim] += 1
    elif complaint := ended.complaint(0, -signal.SIGKILL):
        campaign.failures[aim].append(f"{note}; {complaint}")
    if lost := before - after:
        campaign.failures["commit"].append(f"{note}; lost {sorted(lost)}")
    check_resumed(campaign, ended.out, before, going_on, note)
    return alive


def check_resumed(campaign: Campaign, out: str, before: set[int], going_on: bool, note: str) -> None:
    """A process that said where it goes on from must have said the newest commit."""
    if not going_on:
        return
    said = RESUMED.search(out)
    fresh = "no checkpoint yet" in out
    if said or fresh:
        campaign.resumes += 1
        start = int(said.group(1)) if said else None
        if start != max(before, default=None):
            campaign.failures["commit"].append(f"{note}; went on from {start}, commits were {sorted(before)}")


def kill_often(campaign: Campaign, run: Path, kills: int, rng: random.Random, mix: tuple[str, ...] = MIX) -> int:
    """Kill one run so often on its way, let it finish and compare; returns how many kills struck."""
    struck = 0
    while struck < kills:
        if not kill_once(campaign, run, mix[struck] if mix is not MIX else rng.choice(MIX), rng):
            break
        struck += 1
    before, going_on = committed(run), (run / CONFIG).exists()
    try:
        if max(before, default=0) < max(committed(campaign.unbroken)):
            finish(run, campaign.words)
            check_resumed(campaign, run.with_name(f"{run.name}.log.out").read_text(), before, going_on, run.name)
        difference = unlike_run(run, campaign.unbroken)
    except Exception as error:  # whatever it is, it is a finding
        difference = repr(error)[:400]
    campaign.runs += 1
    if difference:
        campaign.failures["run"].append(f"{run.name}, killed {struck} times: {difference}")
    if odd := uncommitted(run):
        campaign.failures["run"].append(f"{run.name}, killed {struck} times: {sorted(odd)} are left over")
    compare_commits(campaign, run)
    return struck


def compare_commits(campaign: Campaign, run: Path) -> None:
    """Every checkpoint of a finished run must hold what the unbroken run had at that step, if it saved there too."""
    for step in sorted(committed(run) & committed(campaign.unbroken)):
        campaign.commits += 1
        if step not in campaign.arrays:
            campaign.arrays[step] = stored(campaign.unbroken, step)
        try:
            difference = unlike(stored(run, step), campaign.arrays[step])
        except Exception as error:  # orbax raises many kinds
            difference = repr(error)[:400]
        if difference:
            campaign.failures["commit"].append(f"{run.name}, step {step}: {difference}")


def rows(campaign: Campaign) -> list[Row]:
    """A row for each kind of moment, one for the commits and one for the runs."""
    failures = campaign.failures
    kinds = [
        Row(f"kill -9, training, {what}", campaign.tried[aim], len(failures[aim]), "killed", tuple(failures[aim]))
        for aim, what in AIMS.items()
        if campaign.tried[aim] or failures[aim]
    ]
    kills = sum(campaign.tried.values())
    return [
        *kinds,
        Row(
            "… commits afterwards",
            campaign.commits,
            len(failures["commit"]),
            f"none lost, each as in the unbroken run; {campaign.resumes} resumes went on from the newest",
            tuple(failures["commit"]),
        ),
        Row(
            "… runs let to their end",
            campaign.runs,
            len(failures["run"]),
            f"{kills} kills on their way; state and log bit-identical to the unbroken run's",
            tuple(failures["run"]),
        ),
    ]


def kills(folder: Path, count: int, seed: int, log: list[str], per_run: int = 20, epochs: int = 30) -> list[Row]:
    """Kill `count` times, up to `per_run` times a run of `epochs` epochs."""
    campaign = begin(folder, epochs)
    campaign.log = log
    log.append(f"a start takes {campaign.startup:.1f} s, an epoch of {STEPS_PER_EPOCH} steps {campaign.epoch:.2f} s")
    rng = random.Random(seed)
    done = 0
    while done < count:
        struck = kill_often(campaign, folder / f"run{campaign.runs}", min(per_run, count - done), rng)
        done += struck
        log.append(f"{done} of {count} kills")
        if not struck:
            break  # it fails by itself: the row says so
    return rows(campaign)
