"""What may be written after `python -m export.edge`, with the help for it."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.edge.choices import DETAILS, SAMPLERS, SPACINGS
from export.edge.command import Parser

OWN_TILE = "own"
"""`--tile` without a number: the photo's own size."""


def _tile(word: str) -> int | str:
    if word != OWN_TILE and not word.lstrip("+-").isdecimal():
        raise argparse.ArgumentTypeError(f"{word!r} is no number of pixels; give one, or put --tile last without any")
    return word if word == OWN_TILE else int(word)


def make_parser() -> argparse.ArgumentParser:
    """The parser of a translation."""
    parser = Parser(
        prog="python -m export.edge",
        description="Translate a photo, or a folder of photos, with an exported model.",
        epilog="`python -m export.edge info MODEL [--json]` says what a model is. (A model whose file is called info "
        "is ./info.)",
    )
    parser.add_argument(
        "model",
        type=Path,
        nargs="?",
        help="the .onnx file that export.to_onnx wrote, or the folder it is in; without one, the model that comes with "
        "this package, trained on built-in scenes of sunrises and sunsets",
    )
    parser.add_argument("photo", type=Path, help="the photo to translate, or a folder of photos")
    parser.add_argument(
        "output", type=Path, help="where the result goes: .png, .jpg or .webp; for a folder of photos, another folder"
    )
    parser.add_argument(
        "--expect-sha256", metavar="DIGEST", help="refuse to open the model unless its .onnx file has this SHA-256"
    )
    parser.add_argument(
        "--variant",
        metavar="NAME",
        help="which model of the folder: fp32 (default), fp16, int8, or another that its networks.json names",
    )
    parser.add_argument("--threads", type=int, help="processor threads; default: one for each physical core")
    parser.add_argument(
        "--graph",
        action="store_true",
        help="translate by photo.onnx, the whole way in one graph, in which all but --seed and --realism is fixed",
    )
    _add_sampling(parser)
    _add_pictures(parser)
    return parser


def _add_sampling(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--steps",
        type=int,
        help="sampler steps, each one run of the model, with heun two in all but the first and last; "
        "default: what the model recommends",
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed gives another picture (default 0)")
    parser.add_argument(
        "--sampler",
        metavar="NAME",
        help=f"how to sample: {', '.join(SAMPLERS)}, or what a model with samplers of its own has; "
        "default: what the model recommends",
    )
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
        "--realism",
        type=float,
        help="realism, 0 to 1, of a model that was trained with a slider: 0 is the mean of all plausible pictures, "
        "blurred and nearest in colour, 1 the sharpest picture (default 1)",
    )
    parser.add_argument("--eta", type=float, default=0.0, help="noise of ddim, 0 (none, default) to 1")


def _add_pictures(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--size",
        type=int,
        metavar="PIXELS",
        help="bring the photo to another size than that of training: its short side, or both where models need squares",
    )
    parser.add_argument(
        "--detail",
        choices=DETAILS,
        default="transfer",
        help="how a large photo comes back: transfer (default) changes the colours of the photo's own pixels, "
        "enlarge resizes what the model made",
    )
    parser.add_argument(
        "--tile",
        type=_tile,
        nargs="?",
        const=OWN_TILE,
        metavar="PIXELS",
        help="make a picture whose short side has so many pixels, by default as many as the photo's, in overlapping "
        "windows of the model's own size",
    )
    parser.add_argument(
        "--film",
        type=Path,
        metavar="FILE",
        help="also save the way there: .png or .jpg a strip, .gif or .webp animated",
    )
    parser.add_argument(
        "--invented",
        type=Path,
        metavar="FILE",
        help="also save a map of what the photo did not decide and the model invented, black for nothing invented: how "
        "far the picture is from that of realism 0, or, without a slider, how much the pictures of 4 seeds differ",
    )
    parser.add_argument("--save-intermediate", type=Path, metavar="FOLDER", help="also save the pictures along the way")
