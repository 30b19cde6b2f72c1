"""The measurements, in order of value: what each is, the command that makes it, and how long it may take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from jax_impl.config.presets import PRESETS

FOLDER = "{folder}"
"""In the words of a command: the folder of its case, for whatever it writes."""
RESULT = "result.json"
"""In that folder: what the case found."""

Part = Literal["device", "scores"]


@dataclass(frozen=True)
class Case:
    """One measurement: a process that writes RESULT, and that is ended at its time limit."""

    name: str
    """Of its folder, such as throughput/seed/256."""
    words: tuple[str, ...]
    """The command, after `python -m`."""
    limit: float
    """Longest time, seconds."""
    environment: Mapping[str, str] = field(default_factory=dict)
    together: bool = False
    """Whether it may run at the same time as the case before it: where nothing is timed."""
    part: Part = "device"
    """`scores` needs no accelerator, only what a case of the device part has left."""
    result: str = RESULT
    """The file in its folder that holds what it found."""


@dataclass(frozen=True)
class Scale:
    """Sizes of everything that is measured."""

    matrix: int
    """Side of the matrices of the matrix product."""
    copied: int
    """Bytes of the array that is copied."""
    size: int
    """Side of the pictures in pixels."""
    batches: tuple[int, ...]
    """Pairs in a step of the throughput cases."""
    networks: tuple[str, ...]
    """Presets whose throughput is measured."""
    dtype: str
    rounds: int
    seconds: float
    """Of one measurement of throughput."""
    quality_seconds: float
    """Training time of each method of the quality run."""
    quality_batch: int
    toy: bool = False
    """Networks of a few channels, to try the command itself."""


FULL = Scale(8192, 2**32, 128, (64, 256), ("seed", "base"), "bfloat16", 3, 1.5, 75.0, 64)
TOY = Scale(256, 2**20, 16, (4,), ("seed",), "float32", 1, 0.02, 1.0, 4, toy=True)
"""For trying the command itself, on a CPU."""

FLAGS: Mapping[str, str] = {
    "fused convolutions": "--xla_gpu_experimental_enable_conv_fusion=true",
    "convolutions in NHWC": "--xla_gpu_force_conv_nhwc=true",
    "no command buffers": "--xla_gpu_enable_command_buffer=",
    "no autotuning": "--xla_gpu_autotune_level=0",
    "fusions autotuned": "--xla_gpu_experimental_enable_fusion_autotuner=true",
    "cuDNN fusions of matrix products": "--xla_gpu_cudnn_gemm_fusion_level=2",
    "latency hiding": "--xla_gpu_enable_latency_hiding_scheduler=true",
}
"""XLA's flags that are tried, by title, against the throughput cases. One that a version lacks ends the process,
and the case says so."""


@dataclass(frozen=True)
class Dataset:
    """Pairs of the quality run."""

    name: str
    path: str
    direction: str = "forward"


METHODS = ("sharp", "base", "seed", "pix2pix")
"""What the quality run trains, for equal seconds."""


def all_cases(scale: Scale, datasets: tuple[Dataset, ...]) -> tuple[Case, ...]:
    """Every case, the most valuable first."""
    return (*_first(scale), *_throughput(scale), *_formulations(scale), *_quality(scale, datasets), *_rest(scale))


def _first(scale: Scale) -> Iterator[Case]:
    out = f"{FOLDER}/{RESULT}"
    here = "tests.figures.accelerator"
    limits = ("--matrix", str(scale.matrix), "--bytes", str(scale.copied))
    yield Case("ceilings", (f"{here}.ceilings", *limits, "--output", out), 60.0)
    # Those that begin with random weights.
    whole = [name for name, make in PRESETS.items() if not make().stages[0].warm]
    for number, preset in enumerate(whole):
        words = (f"{here}.preset", preset, "--output", out, *_narrow(scale))
        yield Case(f"preset/{preset}", words, 240.0, together=number > 0)


def _narrow(scale: Scale) -> tuple[str, ...]:
    return ("--toy",) if scale.toy else ()


def _bench(scale: Scale, network: str, batch: int, *more: str) -> tuple[str, ...]:
    width = ("--width", "8") if scale.toy else ()
    return (
        "jax_impl.bench", "--presets", network, "--sizes", str(scale.size), "--batch-sizes", str(batch),
        "--dtypes", scale.dtype, "--rounds", str(scale.rounds), "--seconds", str(scale.seconds), *width, *more,
        "--output", f"{FOLDER}/{RESULT}",
    )  # fmt: skip


def _throughput(scale: Scale) -> Iterator[Case]:
    here = "tests.figures.accelerator.throughput"
    for batch in scale.batches:
        words = (
            here, *scale.networks, "--size", str(scale.size), "--batch", str(batch), "--dtype", scale.dtype,
            "--rounds", str(scale.rounds), "--seconds", str(scale.seconds), *_narrow(scale),
            "--output", f"{FOLDER}/{RESULT}",
        )  # fmt: skip
        yield Case(f"throughput/{batch}", words, 300.0)


def _formulations(scale: Scale) -> Iterator[Case]:
    batch = scale.batches[0]
    for title, flag in list(FLAGS.items())[: 1 if scale.toy else None]:
        for network in scale.networks:
            words = _bench(scale, network, batch, "--no-torch")
            yield Case(f"flags/{title.replace(' ', '_')}/{network}", words, 90.0, {"XLA_FLAGS": flag})
    for network in scale.networks:
        yield Case(f"formulations/augment/{network}", _bench(scale, network, batch, "--no-torch", "--augment"), 75.0)
    for steps in (8,) if scale.toy else (1, 8):
        words = (*_bench(scale, "tiny", 16, "--no-torch"), "--steps-a-call", str(steps))
        yield Case(f"formulations/steps_a_call_{steps}/tiny", words, 60.0)


def _quality(scale: Scale, datasets: tuple[Dataset, ...]) -> Iterator[Case]:
    here = "tests.figures.accelerator.quality"
    for data in datasets:
        for method in METHODS:
            place = f"quality/{data.name}/{method}"
            words = (
                here, method, "--data", data.path, "--direction", data.direction, "--size", str(scale.size),
                "--seconds", f"{scale.quality_seconds:g}", "--batch", str(scale.quality_batch),
                "--output", FOLDER, *_narrow(scale),
            )  # fmt: skip
            yield Case(place, words, scale.quality_seconds + 240.0)
    for data in datasets:
        for method in METHODS:
            words = (
                "jax_impl.evaluate", "--pictures", f"{FOLDER}/../../../quality/{data.name}/{method}/pictures",
                "--data.path", data.path, "--data.direction", data.direction, "--data.size", str(scale.size),
                "--output-dir", FOLDER,
            )  # fmt: skip
            yield Case(f"scores/{data.name}/{method}", words, 300.0, part="scores", result="evaluation.json")


def _rest(scale: Scale) -> Iterator[Case]:
    words = ("tests.figures.accelerator.repeats", "--output", f"{FOLDER}/{RESULT}", "--size", str(scale.size))
    yield Case("deterministic", (*words, *_narrow(scale)), 120.0)
    size = ("--size", str(scale.size), "--file-size", str(2 * scale.size), "--seconds", f"{min(2.0, scale.seconds):g}")
    preset = "tiny" if scale.toy else "base"
    yield Case("loader", ("jax_impl.bench.loader", preset, *size, "--output", f"{FOLDER}/{RESULT}"), 90.0)
