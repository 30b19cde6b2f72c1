"""Everything there is to measure on an accelerator, in one command, the most valuable first.

`python -m tests.figures.accelerator --minutes 12 --output DIR [--facades DIR] [--sunrise DIR] [--day-night DIR]`

Each case is a process with a time limit of its own; what it finds is in DIR at once. The command may be stopped at any
moment and started again with the same folder: it goes on with what is missing. `--part scores` scores the pictures of
the quality run on any machine; `python -m tests.figures.accelerator.page DIR docs/accelerators.md` writes the page.
"""

from __future__ import annotations

import argparse
import signal
from collections.abc import Sequence
from pathlib import Path

from export.edge.disk.files import check_output_folder
from export.edge.errors import UserError, run
from tests.figures.accelerator.cases import FULL, TOY, Case, Dataset, all_cases
from tests.figures.accelerator.runner import STOPPED, by_status, run_cases
from tests.figures.counts import check_counts


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and measure. Raises UserError for a time limit or a choice that measures nothing."""
    args = parse(argv)
    if args.minutes <= 0.0:
        raise UserError(f"--minutes is {args.minutes:g}: choose a value above 0")
    cases = choose(all_cases(TOY if args.toy else FULL, datasets(args)), args.part, args.only)
    check_output_folder(args.output, "--output")
    args.output.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: STOPPED.set())
    record = run_cases(cases, args.output.resolve(), 60.0 * args.minutes, lambda line: print(line, flush=True))
    print(", ".join(f"{count} {status}" for status, count in by_status(record).items()))


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.figures.accelerator", description="Measure what an accelerator does with this software."
    )
    parser.add_argument("--minutes", type=float, default=12.0, help="time limit in minutes (default: 12)")
    parser.add_argument("--output", type=Path, required=True, help="folder for results; an earlier one is continued")
    parser.add_argument("--facades", type=Path, help="pairs of the facades dataset, photo left, labels right")
    parser.add_argument("--sunrise", type=Path, help="pairs of sunrise and sunset")
    parser.add_argument("--day-night", type=Path, help="pairs of day and night")
    parser.add_argument("--part", choices=("device", "scores", "all"), default="all", help="which cases (default: all)")
    parser.add_argument("--only", nargs="+", default=[], help="names of cases, or how they begin (default: every one)")
    parser.add_argument("--toy", action="store_true", help="tiny sizes, to try the command itself on a CPU")
    args = parser.parse_args(argv)
    check_counts(args, "minutes", least=0)
    return args


def datasets(args: argparse.Namespace) -> tuple[Dataset, ...]:
    """The pairs that the quality run trains on: those named, else, for a toy, built-in scenes."""
    named = (
        ("facades", args.facades, "reverse"),
        ("sunrise", args.sunrise, "forward"),
        ("day_night", args.day_night, "forward"),
    )
    found = tuple(Dataset(name, str(path.resolve()), way) for name, path, way in named if path is not None)
    return found or ((Dataset("scenes", "synthetic"),) if args.toy else ())


def choose(cases: Sequence[Case], part: str, only: Sequence[str]) -> list[Case]:
    """The cases of that part whose names begin with one of `only`. Raises UserError where there is none."""
    found = [case for case in cases if part in ("all", case.part) and case.name.startswith(tuple(only) or "")]
    if not found:
        raise UserError(f"--only {' '.join(only)} names no case; choose from {', '.join(case.name for case in cases)}")
    return found


if __name__ == "__main__":
    run(main)
