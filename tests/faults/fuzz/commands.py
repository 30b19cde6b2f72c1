"""Command lines whose words are fuzzed: they must end with status 0, or 2 and one line on stderr."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from export import to_onnx, verify
from export.edge import __main__ as edge
from export.edge.errors import run
from jax_impl import bundle, doctor, evaluate, sample
from jax_impl.config import arguments as cli
from tests.faults.fuzz.values import argument_words
from torch_ref import convert

_PATHS = (
    "data",
    "data/a.png",
    "model.onnx",
    "model.safetensors",
    "none",
    "out.png",
    "/",
    ".",
    "none/out.png",
    "out",
    "",
)


@dataclass(frozen=True)
class Command:
    """A command, words that are whole but for one thing, and the flags it has."""

    main: Callable[[list[str]], object]
    start: Sequence[str]
    flags: str


COMMANDS = {
    "export.edge": Command(
        edge.main,
        ["model.onnx", "data/a.png", "out.png"],
        "--steps --seed --sampler --spacing --guidance --size --eta --threads --detail --film --variant --hel "
        "--expect-sha256 info --json",
    ),
    "jax_impl.train": Command(
        cli.parse,
        ["tiny"],
        "--data.path --data.size --train.epochs --train.seed --optim.learning-rate --model.width --model.multipliers "
        "--resume --output-dir --init-from --diffusion.clamp --data.augment.hue",
    ),
    "jax_impl.sample": Command(
        sample.main,
        ["--run", "none", "--input", "data/a.png", "--output", "out.png"],
        "--weights --run --input --output --steps --seed --sampler --guidance --batch-size",
    ),
    "jax_impl.bundle": Command(
        bundle.main, ["--run", "none", "--output", "out.safetensors"], "--run --output --ema-decay --optimizer"
    ),
    "jax_impl.evaluate": Command(
        evaluate.main,
        ["--run", "none", "--output-dir", "out"],
        "--artifact --pictures --run --data.path --steps --seeds --shown --lpips --clip --fid --split",
    ),
    "jax_impl.doctor": Command(doctor.main, ["data"], "--layout --direction --size --fit --val-share --output --json"),
    "export.to_onnx": Command(
        to_onnx.main,
        ["data/a.png", "--output", "out"],
        "--output --variants --calibrate --no-sampler --steps --sampler --license --evaluation",
    ),
    "export.verify": Command(verify.main, ["data"], "--pictures --targets --steps --threads --expect-sha256"),
    "torch_ref.convert": Command(convert.main, ["data/a.png", "out.pth"], "--optimizer --like"),
}


def words(door: str) -> st.SearchStrategy[list[str]]:
    """Command lines, their paths counted from the folder of the material."""
    command = COMMANDS[door]
    # A whole bundle would be exported or drawn with: that is work, and takes its time.
    paths = [
        path for path in _PATHS if path != "model.safetensors" or door not in ("export.to_onnx", "jax_impl.sample")
    ]
    return argument_words(command.flags.split(), paths, command.start)


class UntidyError(Exception):
    """A command that ended in another way than it must."""


def run_words(door: str, argv: list[str]) -> None:
    """Run a command as its console script does. Raises UntidyError, or what the command raised."""
    said, printed = io.StringIO(), io.TextIOWrapper(io.BytesIO(), "utf-8")
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(printed):
            run(lambda: COMMANDS[door].main(argv))
    except SystemExit as leave:
        lines = said.getvalue().strip().splitlines()
        if leave.code == 2 and len(lines) == 1 and lines[0].startswith("error: "):
            raise RefusedError(lines[0]) from None
        if leave.code not in (0, None):
            raise UntidyError(f"status {leave.code} and {len(lines)} lines on stderr: {lines[:3]}") from None


class RefusedError(Exception):
    """A command that refused in one line."""
