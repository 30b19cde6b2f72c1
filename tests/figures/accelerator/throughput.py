"""Training throughput of networks in JAX, next to compiled PyTorch, and the largest items of a profile.

Everything is compiled before the first measurement: PyTorch on the processor, for all networks at once; JAX, which
times kernels on the device as it compiles, one program after the other. The ways to train a network then take turns.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from export.edge.disk.files import write_json
from export.edge.errors import run
from export.edge.timing import Child, GoneError, take_turns
from jax_impl.bench.flops import peak_flops
from jax_impl.bench.table import Case, Way, case_table
from jax_impl.bench.training import SHARED, BenchArgs, configure
from jax_impl.config.as_json import to_json
from tests.figures.counts import check_counts

UNTUNED = "--xla_gpu_autotune_level=0"


@dataclass
class Entry:
    """One way to train one network."""

    case: Case
    way: Way
    child: Child
    alone: bool
    """Whether it times kernels while it compiles."""
    steps: int = 2
    """Of a turn."""


def main(argv: Sequence[str] | None = None) -> None:
    """Measure all networks, and write the cases as `jax_impl.bench` does."""
    parser = argparse.ArgumentParser(prog="python -m tests.figures.accelerator.throughput")
    parser.add_argument("networks", nargs="+", help="presets")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5, help="of one measurement")
    parser.add_argument("--flags", nargs="*", default=[], help="XLA's flags, a further JAX program with each")
    parser.add_argument("--toy", action="store_true", help="networks of few channels, and PyTorch eager")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(argv)
    check_counts(args, "size", "batch", "rounds")
    check_counts(args, "seconds", least=0)
    with ExitStack() as stack:
        entries = list(enter_all(args, stack))
        by_case = [[entry for entry in entries if entry.case is case] for case in cases_of(entries)]
        for those in by_case:
            hear(those)
            keep(entries, args.output)
        # Nothing compiles any more.
        for those in by_case:
            measure(those, args.rounds, args.seconds, lambda: keep(entries, args.output))
            profile(those[0], args.output.parent)
            keep(entries, args.output)
    print("\n".join(case_table(cases_of(entries))))


def enter_all(args: argparse.Namespace, stack: ExitStack) -> Iterator[Entry]:
    """Every way of every network; those that compile on the processor alone have begun."""
    for network in args.networks:
        config = configure(BenchArgs(width=8 if args.toy else None), network, args.size, args.batch, args.dtype)
        case = Case.of(network, config)
        schedule = config.diffusion.create().published().alphas_cumprod
        job: dict[str, Any] = {"config": json.loads(to_json(config))}
        torch_job = {
            **job, "size": args.size, "batch_size": args.batch, "compile": not args.toy,
            "alphas_cumprod": [] if schedule is None else schedule.tolist(),
        }  # fmt: skip
        ways = [("JAX", "jax_impl.bench.timed", job, ""), ("PyTorch, compiled", "torch_ref.timed", torch_job, "")]
        ways += [(f"JAX, {flag}", "jax_impl.bench.timed", job, flag) for flag in args.flags]
        for title, module, given, flag in ways:
            way = Way(title)
            case.ways.append(way)
            alone = title.startswith("JAX") and flag != UNTUNED
            child = Child(module, given, {**SHARED, **({"XLA_FLAGS": flag} if flag else {})}, wait="jax" in module)
            yield Entry(case, way, stack.enter_context(child), alone)


def hear(entries: Sequence[Entry]) -> None:
    """Wait until all ways of a network are compiled."""
    for entry in entries:
        if not entry.alone:
            entry.child.begin()
    for entry in sorted(entries, key=lambda entry: not entry.alone):
        try:
            entry.child.begin()
            entry.way.facts = entry.child.hear()
        except GoneError as gone:
            entry.way.error = str(gone)
    case = entries[0].case
    facts = case.ways[0].facts
    case.peak_flops = facts.get("matmul_flops") or peak_flops(facts.get("device", ""), case.dtype)


def measure(entries: Sequence[Entry], rounds: int, seconds: float, on_turn: Callable[[], object]) -> None:
    """A round that warms up and says how many steps a turn has, then the others."""
    by_way = {id(entry.way): entry for entry in entries}

    def turn(way: Way, number: int) -> None:
        entry = by_way[id(way)]
        answer = entry.child.ask({"steps": entry.steps})
        each = answer["seconds"] / entry.steps
        way.peak_bytes = answer["peak_bytes"]
        if number == 0:
            entry.steps = max(2, round(seconds / each))
        else:
            way.step_seconds.append(each)

    take_turns(entries[0].case.ways, rounds + 1, turn, lambda done, total: on_turn())


def profile(entry: Entry, folder: Path) -> None:
    """The largest items of a JAX program."""
    if entry.way.error is not None:
        return
    try:
        place = folder / f"profile_{entry.case.preset}_{entry.case.batch_size}"
        entry.case.top = entry.child.ask({"steps": 3, "trace": str(place)})["top"]
    except GoneError as gone:
        print(f"no profile of {entry.case.title}: {gone}")


def cases_of(entries: Sequence[Entry]) -> list[Case]:
    """Each once, in order."""
    return list({id(entry.case): entry.case for entry in entries}.values())


def keep(entries: Sequence[Entry], output: Path) -> None:
    """Write what is known by now."""
    write_json(output, [asdict(case) for case in cases_of(entries)])


if __name__ == "__main__":
    run(main)
