"""All commands in one: `dawn2dusk train …` runs `python -m jax_impl.train …`, and so on; without a word it lists them.

The table knows modules by name alone: which of them can run depends on what is installed.
"""

from __future__ import annotations

import argparse
import difflib
import importlib.util
import os
import runpy
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from export.edge.command import Parser
from export.edge.errors import UserError, run

PROGRAM = "dawn2dusk"


@dataclass(frozen=True)
class Command:
    """One command: the module that Python runs for it, and what it does in a line."""

    module: str
    does: str
    extra: str
    """The extra of this package that installs all it needs."""
    needs: tuple[str, ...]
    """Packages without which it cannot start."""


_JAX = ("jax", ("jax", "flax", "optax", "orbax"))
_TORCH = ("torch", ("torch", "safetensors"))
_EXPORT = ("export", ("torch", "onnx", "onnxruntime"))
_EDGE = ("edge", ("onnxruntime",))
COMMANDS = {
    "train": Command("jax_impl.train", "train a model on pairs of pictures", *_JAX),
    "doctor": Command("jax_impl.doctor", "look at your pairs before training", *_JAX),
    "prepare": Command("jax_impl.prepare", "write pairs as a dataset that is larger than memory", *_JAX),
    "sample": Command("jax_impl.sample", "translate photos with the weights of a run, in JAX", *_JAX),
    "evaluate": Command("jax_impl.evaluate", "score a model on held-out pairs", *_JAX),
    "bundle": Command("jax_impl.bundle", "write the weights of a checkpoint as one file", *_JAX),
    "export": Command("export.to_onnx", "write a run as ONNX files, each checked", *_EXPORT),
    "verify": Command("export.verify", "check an exported model again", *_EXPORT),
    "bench": Command("export.bench", "time an exported model on this machine", *_EXPORT),
    "edge": Command("export.edge", "translate photos with an exported model", *_EDGE),
    "video": Command("export.video", "translate a video with an exported model", "video", ("av", "onnxruntime")),
    "page": Command("export.web", "build and serve a page that runs the model in the browser", "edge", ()),
    "convert": Command("torch_ref.convert", "read and write checkpoints of the original script", *_TORCH),
    "bench-train": Command("jax_impl.bench.training", "time a training step on this machine", *_JAX),
    "bench-loader": Command("jax_impl.bench.loader", "time the loading of pairs on this machine", *_JAX),
}
"""By the word that follows `dawn2dusk`, in the order in which they are listed."""


def find_command(name: str) -> Command:
    """The command of that name, which can start here.

    Raises UserError, with the nearest name, for one that is not there, and for one that lacks a package.
    """
    command = COMMANDS.get(name)
    if command is None:
        near = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(COMMANDS)}"
        raise UserError(f"{PROGRAM} {name[:80]} is not a command: {hint}")
    if missing := [package for package in command.needs if importlib.util.find_spec(package) is None]:
        raise UserError(
            f"{PROGRAM} {name} needs {' and '.join(missing)}, not installed here; install this package with its extra "
            f"{command.extra}, such as `pip install -e '.[{command.extra}]'` in its source folder"
        )
    return command


def run_apart(name: str, words: Sequence[str]) -> str:
    """Run a command in a process of its own; returns what it printed.

    The process finds modules where this one does. Raises UserError, with the last line of its errors, where it fails.
    """
    path = os.pathsep.join(place for place in sys.path if place)
    done = subprocess.run(
        [sys.executable, "-m", find_command(name).module, *words],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise UserError(f"{name} failed: {said.removeprefix('error: ')}")
    return done.stdout


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command that the first word names with the words after it, as `python -m` does, or list all."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0].startswith("-"):
        parser = _parser()
        parser.parse_args(words)
        parser.print_help()
        return
    command = find_command(words[0])
    sys.argv[1:] = words[1:]
    # As `python -m`, which starts where it is called: modules of the user lie there.
    sys.path.insert(0, os.getcwd())
    runpy.run_module(command.module, run_name="__main__", alter_sys=True)


def _parser() -> Parser:
    wide = max(map(len, COMMANDS))
    lines = [f"  {name.ljust(wide)}  {command.does}" for name, command in COMMANDS.items()]
    parser = Parser(
        prog=PROGRAM,
        description="Train models on pairs of pictures, and run them anywhere.",
        epilog="\n".join(["commands:", *lines, "", f"`{PROGRAM} COMMAND --help` lists the flags of a command."]),
        loads=False,
    )
    parser.usage = "%(prog)s COMMAND [argument ...]"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("command", nargs="?", metavar="COMMAND", help="name of a command, see the list")
    return parser


def cli() -> None:
    """Entry point of the console script."""
    run(main)


if __name__ == "__main__":
    cli()
