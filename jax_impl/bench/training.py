"""`python -m jax_impl.bench`: how fast presets train here, compared with PyTorch in the same run.

Every way to train is a process of its own (`jax_impl.bench.timed`, `torch_ref.timed`) that holds its network while the
others take their turns, so that a busy moment of the machine hits all alike. Ratios come first.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from export.edge.disk.files import check_output_file, write_json, write_text
from export.edge.errors import UserError, run
from export.edge.timing import Child, GoneError, take_turns
from jax_impl.bench.flops import peak_flops
from jax_impl.bench.table import Case, Way, case_table
from jax_impl.config.as_json import to_json
from jax_impl.config.command import parse
from jax_impl.config.data import AugmentConfig
from jax_impl.config.presets import PRESETS
from jax_impl.config.tree import Config
from jax_impl.model.registry import ComputeDtype

STILL = AugmentConfig(flip=0.0, crop=0.0, rotation=0.0, perspective=0.0, jitter_probability=0.0)
"""No augmentation: PyTorch's side has none."""
SHARED = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
"""Several processes share a GPU here: none may take all of its memory beforehand."""


@dataclass(frozen=True)
class BenchArgs:
    """Time the train step of presets, and PyTorch's of the same networks."""

    presets: tuple[str, ...] = field(default_factory=lambda: tuple(PRESETS))
    """Names of presets."""
    sizes: tuple[int, ...] = (128,)
    """Sides of a training picture in pixels, one case each."""
    batch_sizes: tuple[int, ...] = (16,)
    """Pairs in a step, one case for each number."""
    dtypes: tuple[ComputeDtype, ...] = ("float32",)
    """Number formats of training."""
    width: int | None = None
    """Width of the networks in channels; default: that of the preset."""
    rounds: int = 3
    """Number of times that every case is measured, in turn; at least 1."""
    seconds: float = 2.0
    """Seconds that one measurement takes, about."""
    minutes: float | None = None
    """Time limit in minutes: no case starts that would end later, judged by the longest one so far; those left out are
    named."""
    augment: bool = False
    """Include data augmentation in JAX's time, as in training; PyTorch's never includes it."""
    steps_a_call: int = 1
    """Training steps in one compiled program of JAX, at least 1: more save launches, which weigh in small networks."""
    no_torch: bool = False
    """Leave PyTorch out."""
    peak_tflops: float | None = None
    """Peak TFLOP/s of the device, needed if the built-in table lacks it; a CPU's is measured."""
    profile: Path | None = None
    """Folder for an XLA profile of each case, for TensorBoard, or Perfetto (the `.trace.json.gz`)."""
    output: Path | None = None
    """Also write every figure there, as JSON, and the table next to it, as Markdown."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, print a table. Raises UserError for numbers that measure nothing."""
    args = parse(BenchArgs, argv, "python -m jax_impl.bench")
    if args.rounds < 1 or args.seconds <= 0.0:
        raise UserError(f"--rounds {args.rounds} and --seconds {args.seconds:g} must both be above 0; choose more")
    if args.steps_a_call < 1:
        raise UserError(f"--steps-a-call is {args.steps_a_call}: choose at least 1")
    if args.minutes is not None and args.minutes <= 0.0:
        raise UserError(f"--minutes is {args.minutes:g}: choose a value above 0, or leave it out")
    if args.output is not None:
        check_output_file(args.output, "--output")
    torch = not args.no_torch and importlib.util.find_spec("torch") is not None
    if not torch and not args.no_torch:
        print("PyTorch is not installed, so there is nothing to compare JAX with; `pip install torch` for the ratios")
    # Every one is made before the first is measured: a mistake ends it at once.
    settings = [(chosen[0], configure(args, *chosen)) for chosen in choices(args)]
    cases, started, longest = [], time.monotonic(), 0.0
    for preset, config in settings:
        began = time.monotonic()
        if args.minutes is not None and cases and began + longest > started + 60.0 * args.minutes:
            print(f"left out after {(began - started) / 60.0:.1f} minutes: {Case.of(preset, config).title}")
            continue
        cases.append(time_case(preset, config, args, with_torch=torch))
        longest = max(longest, time.monotonic() - began)
        print("\n".join(case_table(cases[-1:])), flush=True)
        for name, share in cases[-1].top:
            print(f"  {100 * share:5.1f} % {name}")
        if args.output is not None:
            # After each: a run that is cut off leaves what it has.
            write_json(args.output, [asdict(case) for case in cases])
            write_text(args.output.with_suffix(".md"), "\n".join(case_table(cases)) + "\n")
    if len(cases) > 1:
        print("\n" + "\n".join(case_table(cases)))


def choices(args: BenchArgs) -> list[tuple[str, int, int, ComputeDtype]]:
    """Every combination that was asked for, each once."""
    return list(dict.fromkeys(itertools.product(args.presets, args.sizes, args.batch_sizes, args.dtypes)))


def configure(args: BenchArgs, preset: str, size: int, batch_size: int, dtype: ComputeDtype) -> Config:
    """The preset's config for one case. Raises UserError for a size or width that it refuses."""
    config = PRESETS.find(preset, "--presets")()
    model = replace(config.model, compute_dtype=dtype)
    if args.width is not None:
        if "width" not in {each.name for each in fields(model)}:
            raise UserError(f"--width is {args.width}: the network of preset {preset} has no width; leave it out")
        model = replace(model, width=args.width)
    data = replace(config.data, size=size, augment=config.data.augment if args.augment else STILL)
    return replace(config, model=model, data=data, train=replace(config.train, batch_size=batch_size))


def time_case(preset: str, config: Config, args: BenchArgs, *, with_torch: bool) -> Case:
    """All ways to train one config, taking turns."""
    case = Case.of(preset, config)
    job = {"config": json.loads(to_json(config)), "size": case.size, "batch_size": case.batch_size}
    with ExitStack() as stack:
        children: dict[str, Child] = {}

        def enter(title: str, module: str, job: dict[str, Any]) -> Way:
            way = Way(title)
            case.ways.append(way)
            children[title] = stack.enter_context(Child(module, job, SHARED))
            try:
                way.facts = children[title].hear()
            except GoneError as gone:
                way.error = str(gone)
            return way

        ours = enter("JAX", "jax_impl.bench.timed", job | {"steps_a_call": args.steps_a_call})
        schedule = config.diffusion.create().published().alphas_cumprod
        if with_torch and schedule is not None:
            job["alphas_cumprod"] = schedule.tolist()
            eager = enter("PyTorch, eager", "torch_ref.timed", job | {"compile": False})
            if not eager.facts.get("device", "").startswith("CPU"):
                enter("PyTorch, compiled", "torch_ref.timed", job | {"compile": True})
        _race(case, children, args)
        if args.profile is not None and ours.error is None:
            place = args.profile / f"{preset}_{case.size}_{case.batch_size}_{case.dtype}"
            try:
                case.top = children[ours.title].ask({"steps": 3, "trace": str(place)})["top"]
            except GoneError as gone:
                print(f"no profile of {place.name}: {gone}")
    asked = args.peak_tflops * 1e12 if args.peak_tflops else None
    facts = ours.facts
    case.peak_flops = asked or facts.get("matmul_flops") or peak_flops(facts.get("device", ""), case.dtype)
    return case


def _race(case: Case, children: Mapping[str, Child], args: BenchArgs) -> None:
    """A round that warms up and says how many steps a turn has, then those of about `--seconds` for each."""
    steps: dict[str, int] = {}

    def turn(way: Way, number: int) -> None:
        count = steps.get(way.title, 2 * args.steps_a_call)
        answer = children[way.title].ask({"steps": count})
        each = answer["seconds"] / count
        way.peak_bytes = answer["peak_bytes"]
        if number == 0:
            # Whole calls.
            steps[way.title] = -(-max(2, round(args.seconds / each)) // args.steps_a_call) * args.steps_a_call
        else:
            way.step_seconds.append(each)

    take_turns(case.ways, args.rounds + 1, turn)


def cli() -> None:
    """Entry point of the console script."""
    run(main)


if __name__ == "__main__":
    cli()
