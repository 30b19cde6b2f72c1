"""`python -m export.edge MODEL PHOTO OUTPUT`: translate one photo with an exported model."""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

from export.edge import noise
from export.edge.artifact import open_artifact
from export.edge.errors import UserError, run
from export.edge.files import check_input_file, check_output_folder
from export.edge.frames import kept_steps, save_frames
from export.edge.pictures import check_output_picture, open_picture, save_picture
from export.edge.progress import Progress
from export.edge.sampler import SAMPLERS, Step
from export.edge.spacing import SPACINGS
from export.edge.translate import translate


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, as for every other mistake, in place of the usage text."""
        raise UserError(f"{message}; see `python -m export.edge --help`")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m export.edge", description="Translate a photo with an exported model.")
    parser.add_argument("model", type=Path, help="the .onnx file that export.to_onnx wrote")
    parser.add_argument("photo", type=Path, help="the photo to translate")
    parser.add_argument("output", type=Path, help="where the result goes: .png, .jpg or .webp")
    parser.add_argument(
        "--steps",
        type=int,
        help="sampler steps, each one run of the model, with heun two in all but the first and last; "
        "default: what the model recommends",
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed gives another picture (default 0)")
    parser.add_argument("--sampler", choices=SAMPLERS, help="default: what the model recommends")
    parser.add_argument(
        "--spacing", choices=SPACINGS, help="which timesteps the steps visit; default: what the model recommends"
    )
    parser.add_argument(
        "--guidance",
        type=float,
        help="how far to go beyond what the photo alone would make likely, 1 for not at all; any other runs the model "
        "twice; default: what the model recommends",
    )
    parser.add_argument(
        "--size",
        type=int,
        metavar="PIXELS",
        help="bring the photo to another size than that of training: its short side, or both where models want squares",
    )
    parser.add_argument("--eta", type=float, default=0.0, help="noise of ddim, 0 (none, default) to 1")
    parser.add_argument("--threads", type=int, help="processor threads; default: one for each physical core")
    parser.add_argument("--save-intermediate", type=Path, metavar="FOLDER", help="also save the pictures along the way")
    return parser


def _check(arguments: argparse.Namespace) -> None:
    """Find every mistake that can be found before the model is opened and the photo decoded."""
    check_output_picture(arguments.output)
    if arguments.save_intermediate is not None:
        check_output_folder(arguments.save_intermediate, "the folder for intermediate pictures")
    for what, path in (("model", arguments.model), ("photo", arguments.photo)):
        check_input_file(path, what)
        if arguments.output.exists() and arguments.output.samefile(path):
            raise UserError(f"output {arguments.output} is the {what} itself; name another file")
    if arguments.steps is not None and arguments.steps < 1:
        raise UserError(f"--steps {arguments.steps} is less than 1; give at least one")
    if arguments.threads is not None and arguments.threads < 1:
        raise UserError(f"--threads {arguments.threads} is less than 1; give at least one")
    if not 0 <= arguments.seed < 2**64:
        raise UserError(f"--seed {arguments.seed} is outside 0 ... 2^64 - 1; choose a number inside")
    if not 0.0 <= arguments.eta <= 1.0:
        raise UserError(f"--eta {arguments.eta} is outside 0 ... 1; choose a number inside")


def main(argv: Sequence[str] | None = None) -> None:
    """Translate `photo` into `output`; print the output's path and the seconds taken."""
    arguments = _parser().parse_args(argv)
    _check(arguments)
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on files that are odd but readable help nobody here.
        picture = open_picture(arguments.photo)
    model = open_artifact(arguments.model, arguments.threads)

    states: list[tuple[int, int, np.ndarray]] = []
    progress = Progress()

    def on_step(step: Step, total: int) -> None:
        progress.update(step.index + 1, total)
        if arguments.save_intermediate is not None and step.index in kept_steps(total):
            states.append((step.index, step.t, step.x[0]))

    try:
        result = translate(
            model,
            picture,
            arguments.steps,
            arguments.seed,
            arguments.sampler,
            arguments.eta,
            on_step,
            spacing=arguments.spacing,
            guidance=arguments.guidance,
            size=arguments.size,
        )
    finally:
        progress.close()
    save_picture(arguments.output, result)
    if arguments.save_intermediate is not None:
        start = noise.normal(arguments.seed, noise.START, (1, *states[-1][2].shape))[0]
        save_frames(arguments.save_intermediate, start, states, result)
    print(f"{arguments.output} ({result.shape[1]} x {result.shape[0]}) in {time.perf_counter() - started:.1f} s")


def cli() -> None:
    """Entry point of the console script."""
    run(main)


if __name__ == "__main__":
    cli()
