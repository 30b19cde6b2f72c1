"""Weights for LPIPS, CLIP and FID: from the files they are passed around in to the safetensors that `jax_impl` reads.

`python -m torch_ref.perceptual lpips vgg16.pth vgg.pth lpips_vgg.safetensors`: torchvision's VGG16 or AlexNet and the
linear layers of LPIPS 0.1. `python -m torch_ref.perceptual clip model.safetensors clip.safetensors`: the image encoder
of CLIP. `python -m torch_ref.perceptual fid pt_inception.pth inception.safetensors`: the Inception v3 of pytorch-fid.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from export.edge import plugins
from export.edge.command import Parser
from export.edge.disk.files import check_output_file
from export.edge.errors import UserError, run
from torch_ref import clip as clip_file
from torch_ref import lpips as lpips_file
from torch_ref.clip import clip_weights
from torch_ref.frozen import read_state, save, take
from torch_ref.lpips import lpips_weights

INCEPTION_FORMAT = "inception"
CONVOLUTIONS = 94
"""How many the Inception of pytorch-fid has."""
EPSILON = 1e-3
"""What its batch normalisation adds to variances."""


def inception_weights(path: Path) -> dict[str, np.ndarray]:
    """{"NAME.weight", "NAME.bias"} of every convolution, float32, its batch normalisation folded in.

    Raises UserError for a file that cannot be read or is of another network.
    """
    state = read_state(path)
    names = [name.removesuffix(".conv.weight") for name in state if name.endswith(".conv.weight")]
    names = [name for name in names if not name.startswith("AuxLogits.")]
    if len(names) != CONVOLUTIONS:
        raise UserError(f"{path} has {len(names)} convolutions, expected {CONVOLUTIONS}; give the file of pytorch-fid")
    weights = {}
    for name in names:
        scale, bias, mean, variance = (
            take(state, f"{name}.bn.{part}", path).astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        gain = scale / np.sqrt(variance + EPSILON)
        kernel = take(state, f"{name}.conv.weight", path) * gain[:, None, None, None]
        weights[f"{name}.weight"] = kernel.astype(np.float32)
        weights[f"{name}.bias"] = (bias - mean * gain).astype(np.float32)
    return weights


def main(argv: Sequence[str] | None = None) -> None:
    """The command line. Raises UserError for a path that cannot be used."""
    words = plugins.take(argv, "torch")
    parser = Parser(
        prog="python -m torch_ref.perceptual",
        description="Turn the usual weight files of LPIPS, CLIP or FID into safetensors.",
    )
    kinds = parser.add_subparsers(dest="kind", required=True)
    lpips = kinds.add_parser("lpips", help="for evaluate --lpips and the loss term lpips")
    lpips.add_argument("network", type=Path, help="torchvision's vgg16-397923af.pth or alexnet-owt-7be5be79.pth")
    lpips.add_argument("linear", type=Path, help="vgg.pth or alex.pth of LPIPS 0.1, for the same network")
    clip = kinds.add_parser("clip", help="for evaluate --clip and the loss term clip")
    clip.add_argument(
        "checkpoint",
        type=Path,
        help="model.safetensors or pytorch_model.bin of openai/clip-vit-base-patch32, or a state dict of ViT-B-32.pt",
    )
    fid = kinds.add_parser("fid", help="for evaluate --fid")
    fid.add_argument("inception", type=Path, help="pytorch-fid's pt_inception-*.pth")
    for each in (lpips, clip, fid):
        each.add_argument("output", type=Path, help="the .safetensors file to write")
    args = parser.parse_args(words)
    check_output_file(args.output)
    if args.output.suffix != ".safetensors":
        raise UserError(f"output {args.output} must end in .safetensors, the format that is written")
    if args.kind == "lpips":
        save(args.output, lpips_weights(args.network, args.linear), lpips_file.FORMAT)
    elif args.kind == "clip":
        save(args.output, clip_weights(args.checkpoint), clip_file.FORMAT)
    else:
        save(args.output, inception_weights(args.inception), INCEPTION_FORMAT)
    print(f"{args.output}  {args.output.stat().st_size / 1e6:.1f} MB")


def cli() -> None:
    """Entry point of the console script."""
    run(main)


if __name__ == "__main__":
    cli()
