"""`python -m tests.faults.fuzz --inputs 20000 --seed 0`: the campaign, and the table of what came of it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.faults.fuzz.campaign import campaign
from tests.faults.fuzz.shares import SHARES
from tests.faults.table import table


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table and every failure; status 1 when there is one."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.fuzz", description="Broken inputs over all doors.")
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("runs/fuzz"), help="where failing inputs are kept")
    parser.add_argument(
        "--doors", nargs="+", choices=tuple(SHARES), default=tuple(SHARES), metavar="DOOR", help="all by default"
    )
    args = parser.parse_args(argv)
    rows = campaign(args.inputs, args.seed, args.folder, args.doors)
    print(table(rows))
    for row in rows:
        print("\n".join(row.failures), end="\n" if row.failures else "")
    sys.exit(any(row.wrong for row in rows))


if __name__ == "__main__":
    main()
