"""Convolutions of a preset on a CPU: each shape and direction in XLA, in PyTorch and written otherwise.

`python -m tests.figures.convolutions --output F.json --preset seed --size 64 --batch 8`. All ways take turns in one
process of one thread, and what counts is that process's processor time; then the whole train step does, in processes
of their own, with XLA's flags one by one.
JAX "as it comes" is as `train` starts it: a setting with flags of XLA takes the place of
the flag that `jax_impl.training.cpu` chooses.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from export.edge.disk.files import check_output_file, write_json, write_text
from export.edge.errors import UserError, run
from export.edge.timing import Child, GoneError
from jax_impl.bench.flops import equations
from jax_impl.bench.training import BenchArgs, configure
from jax_impl.config.as_json import to_json
from jax_impl.config.command import parse
from jax_impl.config.tree import Config
from jax_impl.model.network import outline
from tests.figures.formulations import DIRECTIONS, Conv, Direction, in_our_layout, pytorch, ways

TURN_SECONDS = 0.01
"""About how long a turn is at least."""
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
EIGEN = "experimental_ynn_fusion_type=-LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION"
SETTINGS: dict[str, dict[str, str]] = {
    "as it comes": {},
    "huge pages": HUGE_PAGES,
    "huge pages, convolutions in Eigen": HUGE_PAGES | {"XLA_FLAGS": f"--xla_cpu_{EIGEN}"},
    **{
        flag: {"XLA_FLAGS": f"--xla_cpu_{flag}"}
        for flag in (
            "use_onednn=true",
            "experimental_onednn_custom_call=true",
            "use_xnnpack=false",
            "experimental_xnn_graph_fusion_mode=XNN_GRAPH_FUSION_MODE_GREEDY",
            EIGEN,
            "experimental_ynn_fusion_type=-LIBRARY_FUSION_TYPE_REDUCE",
            "experimental_ynn_fusion_type=+LIBRARY_FUSION_TYPE_ELTWISE",
            "use_thunk_runtime=false",
            "use_fusion_emitters=false",
            "enable_fast_math=true",
            "multi_thread_eigen=false",
            "prefer_vector_width=512",
            "opt_preset=CPU_OPT_PRESET_FAST_RUNTIME",
            "copy_insertion_use_region_analysis=true",
        )
    },
}
"""What a process is told by its environment, each in turn."""


@dataclass(frozen=True)
class ConvolutionsArgs:
    """Time the convolutions of a preset's network, and its train step under flags of XLA."""

    output: Path
    """Where every figure is written, as JSON; the tables go beside it, as Markdown."""
    preset: str = "seed"
    size: int = 64
    """Side of a training picture, pixels."""
    batch: int = 8
    rounds: int = 15
    """Turns that all take."""
    settings: tuple[str, ...] = tuple(SETTINGS)
    """What the train step is tried under, by the names of the table."""
    no_shapes: bool = False
    """Leave out the single convolutions."""
    no_flags: bool = False
    """Leave out the train step under flags."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, print and write the tables. Raises UserError for no turns."""
    args = parse(ConvolutionsArgs, argv, "python -m tests.figures.convolutions")
    if args.rounds < 1:
        raise UserError(f"--rounds {args.rounds} must be above 0; choose more")
    if unknown := sorted(set(args.settings) - set(SETTINGS)):
        raise UserError(f"--settings: {unknown[0]!r} is none of them; choose from {', '.join(SETTINGS)}")
    check_output_file(args.output, "--output")
    config = configure(BenchArgs(), args.preset, args.size, args.batch, "float32")
    torch.set_num_threads(1)
    found: dict[str, Any] = {
        "preset": args.preset, "size": args.size, "batch": args.batch, "rounds": args.rounds,
        "jax": jax.__version__, "torch": torch.__version__, "GLIBC_TUNABLES": os.environ.get("GLIBC_TUNABLES", ""),
        "shapes": [], "steps": {},
    }  # fmt: skip
    lines: list[str] = []
    if not args.no_flags:
        for name, one in steps(config, args.settings, args.rounds):
            found["steps"][name] = one
            print(step_table({name: one})[-1], flush=True)
        lines += [*step_table(found["steps"]), ""]
    if not args.no_shapes:
        for conv, uses in convolutions(config).items():
            for direction in DIRECTIONS:
                if uses[direction]:
                    found["shapes"].append(measure(conv, direction, uses[direction], args.rounds))
                    print(shape_table(found["shapes"][-1:])[-1], flush=True)
        lines += shape_table(found["shapes"])
        print("\n".join(["", *shape_table(found["shapes"])]))
    write_json(args.output, found)
    write_text(args.output.with_suffix(".md"), "\n".join(lines) + "\n")


def convolutions(config: Config) -> dict[Conv, dict[Direction, int]]:
    """Every convolution of a config's network in training, and how often each direction occurs in a train step.

    Found in the traced gradient, where the gradient of x is a convolution of g with w, and that of w one of x with g:
    each is known by the shapes of its two inputs and of its output.
    """
    network, params, stats = outline(config)
    side, rows = config.data.crop_size or config.data.size, config.train.batch_size
    pictures = [jax.ShapeDtypeStruct((rows, side, side, c), jnp.float32) for c in (3, config.model.cond_channels)]
    t, key = jax.ShapeDtypeStruct((rows,), jnp.int32), jax.eval_shape(lambda: jax.random.key(0))

    def loss(params: Any, stats: Any, x_t: jax.Array, cond: jax.Array, t: jax.Array, key: jax.Array) -> jax.Array:
        return jnp.sum(network.apply(params, stats, x_t, cond, t, train=True, key=key)[0])

    given = (params, stats, *pictures, t, key)
    forward = [e for e in equations(jax.make_jaxpr(loss)(*given).jaxpr) if e.primitive.name == CONVOLUTION]
    program = jax.make_jaxpr(jax.grad(loss))(*given)
    met = Counter(_shapes(e) for e in equations(program.jaxpr) if e.primitive.name == CONVOLUTION)
    found: dict[Conv, dict[Direction, int]] = {}
    for conv, count in Counter(_conv(equation) for equation in forward).items():
        # As many channels out as in: the gradient of x has the shapes of the convolution itself.
        backward = met[conv.y, conv.w, conv.x] - (count if conv.x == conv.y else 0)
        found[conv] = {"forward": count, "input": backward, "weight": met[conv.x, conv.y, conv.w]}
    return found


CONVOLUTION = "conv_general_dilated"


def _shapes(equation: Any) -> tuple[tuple[int, ...], ...]:
    x, w = (v.aval.shape for v in equation.invars)
    return x, w, equation.outvars[0].aval.shape


def _conv(equation: Any) -> Conv:
    strides = set(equation.params["window_strides"])
    assert len(strides) == 1 and equation.params["feature_group_count"] == 1
    assert set(equation.params["lhs_dilation"] + equation.params["rhs_dilation"]) == {1}
    x, w, y = _shapes(equation)
    return Conv(x, w, y, strides.pop(), equation.params["padding"])


def measure(conv: Conv, direction: Direction, uses: int, rounds: int) -> dict[str, Any]:
    """Processor seconds of one convolution in every way, and each way's ratio to PyTorch's, turn by turn."""
    rng = np.random.default_rng(0)
    x, w, g = (rng.standard_normal(shape, np.float32) for shape in (conv.x, conv.w, conv.y))
    racers = {"PyTorch": pytorch(conv, direction, x, w, g), **ways(conv, direction, x, w, g)}
    check_same(conv, direction, racers)
    seconds: dict[str, list[float]] = {name: [] for name in racers}
    times = {name: 1 + int(TURN_SECONDS / max(_cpu_seconds(racer, 1), 1e-6)) for name, racer in racers.items()}
    for _ in range(rounds):
        for name, racer in racers.items():
            seconds[name].append(_cpu_seconds(racer, times[name]) / times[name])
    return {
        "conv": str(conv),
        "direction": direction,
        "uses": uses,
        "milliseconds": {name: 1000 * statistics.median(spent) for name, spent in seconds.items()},
        "ratios": {name: quartiles(spent, seconds["PyTorch"]) for name, spent in seconds.items()},
    }


def check_same(conv: Conv, direction: Direction, racers: Mapping[str, Callable[[], object]]) -> None:
    """Every way computes what PyTorch does: the largest difference within rounding, relative to the largest value."""
    results = {name: in_our_layout(name, direction, racer()) for name, racer in racers.items()}
    wanted = results["PyTorch"]
    for name, result in results.items():
        difference = np.abs(result - wanted).max() / np.abs(wanted).max()
        assert difference < 1e-5, f"{conv}, {direction}, {name}: {difference}"


def _cpu_seconds(racer: Callable[[], object], times: int) -> float:
    began = time.process_time()
    for _ in range(times):
        racer()
    return time.process_time() - began


def quartiles(some: Sequence[float], others: Sequence[float]) -> list[float]:
    """First quartile, median and third of the ratios of two rows of figures, pair by pair."""
    return [float(q) for q in np.percentile(np.asarray(some) / np.asarray(others), [25, 50, 75])]


def steps(config: Config, settings: Sequence[str], rounds: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """The train step under each of the SETTINGS named, and in PyTorch: processor seconds, ratios to JAX's as it comes.

    Each runs beside a JAX as it comes, in turns; two processes at a time, for each holds a network in training.
    """
    job: dict[str, Any] = {"config": json.loads(to_json(config)), "size": config.data.size}
    job |= {"batch_size": config.train.batch_size, "compile": False}
    job["alphas_cumprod"] = np.asarray(config.diffusion.create().published().alphas_cumprod).tolist()
    wanted = [(f"JAX, {name}", "jax_impl.bench.timed", SETTINGS[name]) for name in settings]
    wanted += [("PyTorch, as it comes", "torch_ref.timed", {}), ("PyTorch, huge pages", "torch_ref.timed", HUGE_PAGES)]
    with Child("jax_impl.bench.timed", job) as first:
        _ready(first)
        for name, module, environment in wanted:
            with Child(module, job, environment) as child:
                yield name, {"environment": environment, **_race(child, first, rounds)}


def _race(child: Child, first: Child, rounds: int) -> dict[str, Any]:
    try:
        _ready(child)
    except GoneError as gone:
        return {"error": str(gone)}
    turns = [[one.ask({"steps": 1})["cpu_seconds"] for one in (child, first)] for _ in range(rounds)]
    seconds, beside = map(list, zip(*turns, strict=True))
    return {"seconds": seconds, "beside": beside, "ratio": quartiles(seconds, beside)}


def _ready(child: Child) -> None:
    child.hear()
    child.ask({"steps": 1})


def shape_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Markdown: for every shape and direction its share of the convolutions' time, and each way's over PyTorch's."""
    head = ["convolution", "direction", "times a step", "PyTorch, ms", "share in XLA", "XLA", "best other way"]
    total = sum(row["uses"] * row["milliseconds"]["XLA"] for row in rows)
    lines = ["| " + " | ".join(head) + " | others |", "| --- " * (len(head) + 1) + "|"]
    for row in rows:
        spent, ratios = row["milliseconds"], row["ratios"]
        others = sorted((name for name in ratios if name not in ("XLA", "PyTorch")), key=lambda n: ratios[n][1])
        shown = [f"{name} {ratios[name][1]:.2f}" for name in others]
        low, middle, high = ratios["XLA"]
        cells = [
            row["conv"], row["direction"], str(row["uses"]), f"{spent['PyTorch']:.2f}",
            f"{100 * row['uses'] * spent['XLA'] / total:.1f} %", f"{middle:.2f} ({low:.2f}–{high:.2f})",
            shown[0] if shown else "", ", ".join(shown[1:]),
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def step_table(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Markdown: the train step's processor time under every setting, and over that of JAX as it comes."""
    lines = ["| | ms a step | × JAX as it comes |", "| --- | --- | --- |"]
    for name, one in found.items():
        if "ratio" not in one:
            lines.append(f"| {name} | {one['error']} | |")
            continue
        low, middle, high = one["ratio"]
        spent = 1000 * statistics.median(one["seconds"])
        lines.append(f"| {name} | {spent:.1f} | {middle:.3f} ({low:.3f}–{high:.3f}) |")
    return lines


if __name__ == "__main__":
    run(main)
