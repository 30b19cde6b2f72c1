"""Weights for LPIPS and FID, from the `.pth` files they are passed around in to the safetensors that `evaluate` reads.

`python -m torch_ref.perceptual lpips alexnet.pth alex.pth lpips_alex.safetensors`: torchvision's
AlexNet and the linear layers of LPIPS 0.1. `python -m torch_ref.perceptual fid
pt_inception.pth inception.safetensors`: the Inception v3 of pytorch-fid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save as to_bytes
from torch import Tensor

from export.edge import plugins
from export.edge.command import Parser
from export.edge.disk.files import check_input_file, check_output_file, weights_digest, write_bytes
from export.edge.errors import UserError, run
from torch_ref.original import load_pth

FORMAT_VERSION = "1"
LPIPS_FORMAT, INCEPTION_FORMAT = "dawn2dusk-lpips", "dawn2dusk-inception"
ALEXNET = tuple(f"features.{index}" for index in (0, 3, 6, 8, 10))
"""The convolutions of torchvision's AlexNet."""
CONVOLUTIONS = 94
"""How many the Inception of pytorch-fid has."""
_PARTS = ("weight", "bias")
EPSILON = 1e-3
"""What its batch normalisation adds to variances."""


def lpips_weights(alexnet: Path, linear: Path) -> dict[str, np.ndarray]:
    """{"features.N.weight", "features.N.bias", "lin0" … "lin4"} from the two files, float32.

    Raises UserError for a file that cannot be read or lacks one of them.
    """
    features, layers = _state(alexnet), _state(linear)
    weights = {f"{name}.{part}": _take(features, f"{name}.{part}", alexnet) for name in ALEXNET for part in _PARTS}
    for index, name in enumerate(ALEXNET):
        lin = _take(layers, f"lin{index}.model.1.weight", linear).reshape(-1)
        channels = len(weights[f"{name}.bias"])
        if len(lin) != channels:
            raise UserError(
                f"{linear}: lin{index} weights {len(lin)} channels where {alexnet} has {channels}; give the linear "
                "layers for AlexNet"
            )
        weights[f"lin{index}"] = lin
    return weights


def inception_weights(path: Path) -> dict[str, np.ndarray]:
    """{"NAME.weight", "NAME.bias"} of every convolution, float32, its batch normalisation folded in.

    Raises UserError for a file that cannot be read or is of another network.
    """
    state = _state(path)
    names = [name.removesuffix(".conv.weight") for name in state if name.endswith(".conv.weight")]
    names = [name for name in names if not name.startswith("AuxLogits.")]
    if len(names) != CONVOLUTIONS:
        raise UserError(f"{path} has {len(names)} convolutions, expected {CONVOLUTIONS}; give the file of pytorch-fid")
    weights = {}
    for name in names:
        scale, bias, mean, variance = (
            _take(state, f"{name}.bn.{part}", path).astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        gain = scale / np.sqrt(variance + EPSILON)
        kernel = _take(state, f"{name}.conv.weight", path) * gain[:, None, None, None]
        weights[f"{name}.weight"] = kernel.astype(np.float32)
        weights[f"{name}.bias"] = (bias - mean * gain).astype(np.float32)
    return weights


def save(path: Path, weights: Mapping[str, np.ndarray], kind: str) -> None:
    """Write the weights with their digest, atomically."""
    metadata = {"format": kind, "format_version": FORMAT_VERSION, "weights_digest": weights_digest(weights)}
    # As bytes: where the disk is full, the library raises an error of its own.
    write_bytes(path, to_bytes(dict(weights), metadata))


def _state(path: Path) -> Mapping[str, object]:
    held = load_pth(check_input_file(path, "weights"))
    if not isinstance(held, Mapping) or not all(isinstance(name, str) for name in held):
        raise UserError(f"{path} is no state dict; save the network's state_dict()")
    return held


def _take(state: Mapping[str, object], name: str, path: Path) -> np.ndarray:
    value = state.get(name)
    if not isinstance(value, Tensor):
        raise UserError(f"{path} lacks {name}; is it of another network?")
    array = value.detach().to(torch.float32).numpy()
    if not np.isfinite(array).all():
        raise UserError(f"{path}: its {name} is not finite; get a whole copy of it")
    return np.ascontiguousarray(array)


def main(argv: Sequence[str] | None = None) -> None:
    """The command line. Raises UserError for a path that cannot be used."""
    words = plugins.take(argv, "torch")
    parser = Parser(
        prog="python -m torch_ref.perceptual",
        description="Turn the usual .pth weights of LPIPS or FID into safetensors.",
    )
    kinds = parser.add_subparsers(dest="kind", required=True)
    lpips = kinds.add_parser("lpips", help="for evaluate --lpips")
    lpips.add_argument("alexnet", type=Path, help="torchvision's alexnet-*.pth")
    lpips.add_argument("linear", type=Path, help="alex.pth of LPIPS 0.1")
    fid = kinds.add_parser("fid", help="for evaluate --fid")
    fid.add_argument("inception", type=Path, help="pytorch-fid's pt_inception-*.pth")
    for each in (lpips, fid):
        each.add_argument("output", type=Path, help="the .safetensors file to write")
    args = parser.parse_args(words)
    check_output_file(args.output)
    if args.output.suffix != ".safetensors":
        raise UserError(f"output {args.output} must end in .safetensors, the format that is written")
    if args.kind == "lpips":
        save(args.output, lpips_weights(args.alexnet, args.linear), LPIPS_FORMAT)
    else:
        save(args.output, inception_weights(args.inception), INCEPTION_FORMAT)
    print(f"{args.output}  {args.output.stat().st_size / 1e6:.1f} MB")


def cli() -> None:
    """Entry point of the console script."""
    run(main)


if __name__ == "__main__":
    cli()
