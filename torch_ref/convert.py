"""`python -m torch_ref.convert model.safetensors model.pth`: trained weights as the original project's checkpoint."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from export.edge.errors import UserError, run
from export.edge.files import atomic_file, check_input_file, check_output_file
from torch_ref.weights import load_bundle


def to_pth(source: Path, target: Path) -> str:
    """Write the weights of the bundle `source` as the `.pth` `target`, atomically; returns a note for the user, or "".

    The file holds {"model_state_dict", "epoch", "loss"} and loads with
    `weights_only=True`. A bundle knows neither epoch nor loss: they are 0 and infinity,
    what they are before any training. Raises UserError for a source that is not a bundle.
    """
    bundle = load_bundle(source)
    state = {name: value.contiguous() for name, value in bundle.model.state_dict().items()}
    with atomic_file(target) as temporary:
        torch.save({"model_state_dict": state, "epoch": 0, "loss": float("inf")}, temporary)
    model = bundle.config["model"]
    if model["architecture"] != "seed":
        return "note: this is the residual family; the original project's network cannot hold its weights"
    if model["output_activation"] != "tanh":
        return (
            "note: these weights were trained without a tanh at the end; the original project's network ends in one "
            "and would squash what they predict"
        )
    return ""


def main(argv: Sequence[str] | None = None) -> None:
    """The command line. Raises UserError for a suffix or a path that cannot be used."""
    parser = argparse.ArgumentParser(
        prog="python -m torch_ref.convert",
        description="Write trained weights as a .pth checkpoint of the original project.",
    )
    parser.add_argument("source", type=Path, help="the bundle, model.safetensors")
    parser.add_argument("target", type=Path, help="the checkpoint to write, model.pth")
    args = parser.parse_args(argv)
    suffixes = (args.source.suffix, args.target.suffix)
    if suffixes != (".safetensors", ".pth"):
        raise UserError(
            f"cannot convert {args.source.name} to {args.target.name}; give a .safetensors file and a .pth to write"
        )
    check_input_file(args.source, "bundle")
    check_output_file(args.target)
    note = to_pth(args.source, args.target)
    print(f"{args.target}  {args.target.stat().st_size / 1e6:.1f} MB")
    if note:
        print(note)


def cli() -> None:
    """Entry point of the console script."""
    run(main)


if __name__ == "__main__":
    cli()
