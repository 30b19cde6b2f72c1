"""`python -m export.video MODEL in.mp4 out.mp4`: translate a video with an exported model, without flicker.

Without MODEL, with the model that comes with this package. The sound is copied as it is.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from export.edge import plugins
from export.edge.command import Parser
from export.edge.disk.files import check_output_file
from export.edge.errors import UserError, run
from export.edge.model.artifact import open_artifact
from export.edge.pretrained import or_pretrained
from export.edge.progress import Progress
from export.edge.steady import Steady

MOST_SMOOTHING = 10.0
"""Seconds."""
CONTAINERS = {
    ".mp4": ("mp4", "libx264"),
    ".mov": ("mov", "libx264"),
    ".mkv": ("matroska", "libx264"),
    ".webm": ("webm", "libvpx-vp9"),
}
"""By the suffix of what is written: the container and the encoder of its pictures."""


def main(argv: Sequence[str] | None = None) -> None:
    """The command line. Raises UserError for what cannot be read, translated or written."""
    arguments = _parser().parse_intermixed_args(plugins.take(argv, "edge"))
    started, output = time.perf_counter(), arguments.output
    check_output_file(output, "output")
    if output.suffix.lower() not in CONTAINERS:
        raise UserError(f"output {output}: {output.suffix or 'no'} suffix is not known; use {', '.join(CONTAINERS)}")
    if output.exists() and arguments.video.exists() and output.samefile(arguments.video):
        raise UserError(f"output {output} is the video itself; name another file")
    if not 0 <= arguments.seed < 2**64:
        raise UserError(f"--seed {arguments.seed} is outside 0 ... 2^64 - 1; choose a number inside")
    if not 0.0 <= arguments.smoothing <= MOST_SMOOTHING:
        raise UserError(f"--smoothing {arguments.smoothing} is outside 0 ... {MOST_SMOOTHING}; choose a number inside")
    if arguments.threads is not None and arguments.threads < 1:
        raise UserError(f"--threads {arguments.threads} is less than 1; give at least one")
    if importlib.util.find_spec("av") is None:
        raise UserError("videos need PyAV, which is not installed here; install it with `pip install av`")
    from export.video_file import opened, translate_video  # Help and mistakes do without PyAV.

    progress = Progress(noun="frame")
    with opened(arguments.video, sound=not arguments.no_sound) as film:
        model = open_artifact(
            or_pretrained(arguments.model, arguments.video), arguments.threads, variant=arguments.variant
        )
        how = Steady(arguments.steps, arguments.seed, arguments.realism, arguments.smoothing)
        model.plan(how.steps, realism=how.realism)  # What cannot be is said before anything is written.
        try:
            count = translate_video(model, film, output, CONTAINERS[output.suffix.lower()], how, progress)
        finally:
            progress.close()
        if film.ending:
            print(f"note: {film.path} ends early ({film.ending}): what comes after is left out", file=sys.stderr)
        if film.lost:
            left = (
                f"{film.lost} frames of {film.path} cannot be read and are left out; the ones before them stay longer"
            )
            print(f"note: {left}", file=sys.stderr)
    print(f"{output}: {count} frames in {time.perf_counter() - started:.1f} s")


def _parser() -> Parser:
    parser = Parser(
        prog="python -m export.video",
        description="Translate a video with an exported model, frame by frame, with colours that do not flicker.",
    )
    parser.add_argument(
        "model",
        type=Path,
        nargs="?",
        help="the .onnx file that export.to_onnx wrote, or the folder it is in; without one, the model that comes with "
        "this package",
    )
    parser.add_argument("video", type=Path, help="the video to translate: MP4, MOV, MKV, WebM, AVI and others")
    parser.add_argument("output", type=Path, help=f"where the result goes: {', '.join(CONTAINERS)}")
    parser.add_argument("--variant", metavar="NAME", help="which model of the folder: fp32 (default), fp16, int8, …")
    parser.add_argument("--threads", type=int, help="processor threads; default: one for each physical core")
    parser.add_argument("--steps", type=int, help="sampler steps of each frame; default: what the model recommends")
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="another seed gives other pictures; the noise is the same for every frame (default 0)",
    )
    parser.add_argument(
        "--realism",
        type=float,
        help="realism, 0 to 1, of a model that was trained with a slider: 0 is the mean picture, 1 the sharpest "
        "(default 1)",
    )
    parser.add_argument(
        "--smoothing",
        type=float,
        default=Steady.smoothing,
        metavar="SECONDS",
        help="over how long colours follow the model where nothing moves, 0 to 10; 0 translates each frame by itself, "
        f"which flickers (default {Steady.smoothing})",
    )
    parser.add_argument("--no-sound", action="store_true", help="leave the sound out")
    return parser


def cli() -> None:
    """The console script."""
    run(main)


if __name__ == "__main__":
    cli()
