"""What may be written after `python -m export.to_onnx`, with the help for it."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.edge.choices import SAMPLERS, SPACINGS
from export.edge.command import Parser
from export.edge.model.variants import REFERENCE, VARIANTS
from export.model_card import NOT_STATED


def make_parser() -> argparse.ArgumentParser:
    """The parser of an export."""
    parser = Parser(
        prog="python -m export.to_onnx",
        description="Write trained weights as a folder of checked ONNX files, with all that belongs to them.",
    )
    parser.add_argument("source", type=Path, help="the folder of a run, or a bundle, model.safetensors")
    parser.add_argument(
        "--output", type=Path, default=Path("artifact"), help="folder to write, whole or not at all (default: artifact)"
    )
    parser.add_argument(
        "--variants",
        nargs="+",
        choices=VARIANTS,
        default=list(VARIANTS),
        help="fp32 is always there (default: all)",
    )
    parser.add_argument(
        "--calibrate",
        type=Path,
        metavar="DIR",
        help="pictures like those to translate: int8 learns its values from half of them, all are tried on the "
        "other half (default: painted ones)",
    )
    parser.add_argument(
        "--photo",
        nargs="*",
        choices=VARIANTS,
        default=[REFERENCE],
        help="variants of which a whole translation is written as one graph, photo.onnx, photo_int8.onnx and so on; "
        "none for no such file (default: fp32)",
    )
    parser.add_argument(
        "--ort",
        action="store_true",
        help="also write each photo*.onnx in ORT format, and the list of operators for a small build of onnxruntime",
    )
    parser.add_argument("--no-sampler", action="store_true", help="leave out sampler.onnx, the whole loop in one graph")
    parser.add_argument(
        "--unrolled",
        action="store_true",
        help="also write sampler_unrolled.onnx, the loop turn by turn, for engines that lack the operator Loop",
    )
    where = "of sampler.onnx and photo.onnx; default: what the model recommends"
    parser.add_argument("--steps", type=int, help=f"sampling steps {where}")
    parser.add_argument(
        "--sampler",
        metavar="NAME",
        help=f"sampler, {', '.join(SAMPLERS)} or one that the model has of its own, {where}",
    )
    parser.add_argument("--spacing", choices=SPACINGS, help=f"timesteps {where}")
    _add_card(parser)
    return parser


def _add_card(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--license", default=NOT_STATED, help="license named on the model card, such as cc-by-4.0")
    parser.add_argument(
        "--title",
        help="title of the page and of the model card, at most 60 characters; default: `Picture translation`, and on "
        "the card the name of the run folder",
    )
    parser.add_argument(
        "--input-name",
        help="what the model takes, one or two words for the page, such as `sketch` (default: picture; sunrise for the "
        "built-in scenes)",
    )
    parser.add_argument(
        "--target-name",
        help="what the model makes, for the page and the names of its files, such as `painting` (default: translation; "
        "sunset for the built-in scenes)",
    )
    parser.add_argument(
        "--evaluation",
        type=Path,
        metavar="JSON",
        help="evaluation.json, for the model card; default: evaluation/evaluation.json of the run folder",
    )
    parser.add_argument("--parity", type=Path, metavar="JSON", help="parity.json, for the model card")
