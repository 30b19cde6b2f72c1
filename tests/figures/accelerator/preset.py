"""A preset on this device: a few training steps, a sample and an evaluation by the commands themselves."""

from __future__ import annotations

import argparse
import contextlib
import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from export.edge.disk.files import write_json
from export.edge.errors import UserError, run
from export.edge.pictures.files import save_picture
from jax_impl import evaluate, sample, train
from jax_impl.config.presets import PRESETS
from jax_impl.data.synthetic import render_pair, scene_seed
from jax_impl.training.report import read_log

PAIRS = 32
NARROW = ("width", "head_channels", "groups")
"""Settings of networks that are 8 in a toy."""


def main(argv: Sequence[str] | None = None) -> None:
    """Train, sample and evaluate; each step is recorded with its seconds, or with the error that it ended in."""
    parser = argparse.ArgumentParser(prog="python -m tests.figures.accelerator.preset")
    parser.add_argument("preset")
    parser.add_argument("--toy", action="store_true", help="small pictures and a network of few channels")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(argv)
    place = args.output.parent
    found: dict[str, Any] = {}
    for name, command in commands(args.preset, place, toy=args.toy):
        found[name] = attempt(command)
        write_json(args.output, found)
    log = read_log(place / "run")
    found["losses"] = [row["loss"] for row in log if "loss" in row]
    write_json(args.output, found)
    failed = [f"{name}: {each['error']}" for name, each in found.items() if isinstance(each, dict) and "error" in each]
    if failed:
        raise UserError("; ".join(failed))


def commands(preset: str, place: Path, *, toy: bool) -> list[tuple[str, Callable[[], object]]]:
    """The three commands, by name."""
    run_folder, taken = str(place / "run"), str(photo(place))
    scenes = ["--data.path", "synthetic", "--data.synthetic-pairs", str(PAIRS)]
    small = narrow_words(preset) if toy else []
    brief = ["--train.epochs", "1", "--data.repeats", "1", "--train.sample-every", "0"]
    return [
        ("train", lambda: train.main([preset, *scenes, *small, *brief, "--output-dir", run_folder])),
        ("sample", lambda: sample.main(["--run", run_folder, "--input", taken, "--output", str(place / "sample.png")])),
        ("evaluate", lambda: evaluate.main(["--run", run_folder, *scenes, "--output-dir", str(place / "evaluation")])),
    ]


def narrow_words(preset: str) -> list[str]:
    """What makes a preset a toy, in the words of the command line."""
    model = PRESETS.find(preset, "preset")().model
    found = [f"--model.{name.replace('_', '-')}" for name in NARROW if hasattr(model, name)]
    return ["--data.size", "32", *(word for flag in found for word in (flag, "8"))]


def photo(place: Path) -> Path:
    """A file with the sunrise of a built-in scene."""
    path = place / "photo.png"
    save_picture(path, render_pair(scene_seed("val", 0), 128)[0])
    return path


def attempt(command: Callable[[], object]) -> dict[str, Any]:
    """Seconds that a command took, or the error that it ended in."""
    began, printed = time.monotonic(), io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            command()
    except Exception as error:
        lines = str(error).strip().splitlines() or ["no message"]
        return {"error": f"{type(error).__name__}: {lines[0][:300]}", "seconds": time.monotonic() - began}
    return {"seconds": time.monotonic() - began}


if __name__ == "__main__":
    run(main)
