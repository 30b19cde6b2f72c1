"""`python -m tests.faults [kills|damage|disk|signals|fuzz|all]`: faults on purpose, and a table of what came of them.

Writes the table's rows, with every failure and the log of every fault, to `--output`. Exit status 0: all ended as
they must; 1: something did not; 2: the command cannot be carried out.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

# What a run gives is compared to the last bit: one kind of device, one thread, no other run's compiled programs.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

from export.edge.disk.files import check_output_file, write_json
from export.edge.errors import UserError, run
from tests.faults.table import Row, table

PARTS = ("kills", "damage", "disk", "signals", "fuzz")
LEAST = {"kills": 1, "damages": 40, "fills": 3, "signals": 2, "inputs": 1}


def main(argv: Sequence[str] | None = None) -> None:
    """The command line. Raises UserError for what cannot be carried out, and SystemExit(1) for what went wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults", description="Break trainings, tools and files on purpose."
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--output", type=Path, required=True, help="JSON file for rows, failures and log")
    parser.add_argument("--kills", type=int, default=200, help="of trainings (default: 200); half as many of tools")
    parser.add_argument("--damages", type=int, default=1000, help="of runs and artifacts (default: 1000)")
    parser.add_argument("--fills", type=int, default=60, help="disks filled under trainings (default: 60)")
    parser.add_argument("--signals", type=int, default=30, help="sent to trainings (default: 30)")
    parser.add_argument("--inputs", type=int, default=20000, help="fuzzed inputs (default: 20000)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn; moments also depend on the machine")
    args = parser.parse_args(argv)
    parts = PARTS if not args.parts or args.parts == ["all"] else tuple(args.parts)
    if unknown := [part for part in parts if part not in PARTS]:
        raise UserError(f"{unknown[0]} is no part; choose from {', '.join(PARTS)} and all")
    for name, least in LEAST.items():
        if getattr(args, name) < least:
            raise UserError(f"--{name} {getattr(args, name)} is less than {least}; choose more")
    check_output_file(args.output, "--output")
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = f"{folder}/compiled"
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "0"
        rows, log = carry_out(parts, args, Path(folder))
    print(table(rows))
    failures = [f"{row.fault}: {failure}" for row in rows for failure in row.failures]
    print("\n".join(failures))
    if failures or any(row.wrong for row in rows):
        raise SystemExit(1)
    print(f"all as it must be; {len(log)} lines of log in {args.output}")


def carry_out(parts: Sequence[str], args: argparse.Namespace, folder: Path) -> tuple[list[Row], list[str]]:
    """All rows and the log; what is done so far goes to `--output` after each part."""
    # Imported here: jax reads its settings when it is imported.
    from tests.faults.damage import damages
    from tests.faults.disk import disks
    from tests.faults.kills import kills
    from tests.faults.places import can_mount, enter_namespace
    from tests.faults.processes import finish, small_run
    from tests.faults.signals import read_only, signals
    from tests.faults.tool_kills import tool_kills
    from tests.faults.tools import Workshop, workshop

    mounts = True
    if {"disk", "signals"} & set(parts) and not can_mount(folder):
        enter_namespace()
        mounts = False
        print("skipped: a small file system cannot be mounted here, neither directly nor by `unshare -m -r`")
    log: list[str] = []
    shop: list[Workshop] = []

    def place(name: str) -> Path:
        (folder / name).mkdir()
        return folder / name

    def tools() -> Workshop:
        if not shop:
            at = place("workshop")
            shop.append(workshop(at, finish(at / "run", small_run(3))))
        return shop[0]

    def fuzz() -> list[Row]:
        from tests.faults.fuzz.campaign import campaign

        return campaign(args.inputs, args.seed, place("fuzz"))

    def disk() -> list[Row]:
        return disks(tools(), place("disk"), args.fills, args.seed, log) if mounts else []

    def stop() -> list[Row]:
        rows = signals(place("signals"), args.signals, args.seed, log)
        return rows + (read_only(tools(), place("read_only")) if mounts else [])

    steps: dict[str, Callable[[], list[Row]]] = {
        "kills": lambda: (
            kills(place("kills"), args.kills, args.seed, log)
            + tool_kills(tools(), place("tool_kills"), max(16, args.kills // 2), args.seed, log)
        ),
        "damage": lambda: damages(tools().run, tools().artifact, args.damages, args.seed, place("damage")),
        "disk": disk,
        "signals": stop,
        "fuzz": fuzz,
    }
    rows: list[Row] = []
    for part in parts:
        began = time.monotonic()
        rows += steps[part]()
        log.append(f"{part}: {time.monotonic() - began:.0f} s")
        print(log[-1], flush=True)
        facts = {"seed": args.seed, "parts": list(parts), "rows": [asdict(row) for row in rows], "log": log}
        write_json(args.output, facts)
    return rows, log


def cli() -> None:
    """The command."""
    run(main)


if __name__ == "__main__":
    cli()
