"""Ten training steps with train.deterministic, in two processes: whether their bits are equal, and what it costs."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from export.edge.disk.files import write_json
from export.edge.errors import run
from export.edge.timing import Child
from jax_impl.bench.training import BenchArgs, configure
from jax_impl.config.as_json import to_json
from jax_impl.train import DETERMINISTIC
from tests.figures.counts import check_counts

STEPS = 10
ROUNDS = 3


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.figures.accelerator.repeats")
    parser.add_argument("--preset", default="seed")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--toy", action="store_true", help="a network of few channels")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(argv)
    check_counts(args, "size", "batch")
    config = configure(BenchArgs(width=8 if args.toy else None), args.preset, args.size, args.batch, "bfloat16")
    config = replace(config, train=replace(config.train, deterministic=True))
    job = {"config": json.loads(to_json(config))}
    flags = {"deterministic": DETERMINISTIC, "again": DETERMINISTIC, "free": "", "free again": ""}
    with ExitStack() as stack:
        children = {
            name: stack.enter_context(Child("jax_impl.bench.timed", job, {"XLA_FLAGS": flag}))
            for name, flag in flags.items()
        }
        for child in children.values():
            child.hear()
        digests = {name: child.ask({"steps": STEPS, "digest": True})["digest"] for name, child in children.items()}
        taken: dict[str, list[float]] = {name: [] for name in children}
        for _ in range(ROUNDS):
            for name, child in children.items():
                taken[name].append(child.ask({"steps": STEPS})["seconds"] / STEPS)
    free, bound = (statistics.median(taken[name]) for name in ("free", "deterministic"))
    found = {
        "steps": STEPS + 1,
        "equal_bits": digests["deterministic"] == digests["again"],
        "equal_bits_without": digests["free"] == digests["free again"],
        "step_seconds": {"deterministic": bound, "free": free},
        "cost": bound / free,
    }
    write_json(args.output, found)


if __name__ == "__main__":
    run(main)
