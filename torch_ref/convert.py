"""The door to the original script, both ways: its `.pth` checkpoints and `model.safetensors`.

`python -m torch_ref.convert original.pth model.safetensors` brings a checkpoint in, to
be exported, or trained on in JAX; `python -m torch_ref.convert model.safetensors
model.pth` writes one that the script loads and resumes from. `--optimizer
optimizer.safetensors` takes AdamW's moments along, either way.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from export.edge import plugins
from export.edge.command import Parser
from export.edge.disk.files import check_input_file, check_output_file, write_bytes
from export.edge.errors import UserError, run
from torch_ref.optimizer import (
    Training,
    batches,
    fresh,
    from_checkpoint,
    has_moments,
    read_training,
    to_checkpoint,
    write_training,
)
from torch_ref.original import Checkpoint, in_order, parameters, read_checkpoint, settings
from torch_ref.weights import Bundle, load_bundle, save_bundle


def from_pth(source: Path, target: Path, optimizer: Path | None = None) -> list[str]:
    """Write the checkpoint `source` as the bundle `target`, and its moments as `optimizer`; returns notes for the user.

    The bundle gets the original script's settings and schedule, the tanh at the network's
    end included. Raises UserError for a source that is no checkpoint of the script, or
    that lacks whole moments where they are asked for; then nothing is written.
    """
    checkpoint = read_checkpoint(source)
    training = _training(source, checkpoint) if optimizer is not None else None
    digest = save_bundle(target, checkpoint.state, settings()[1], checkpoint.config)
    notes = list(checkpoint.notes)
    if optimizer is not None and training is not None:
        write_training(optimizer, replace(training, weights_digest=digest))
    elif has_moments(checkpoint.training):
        notes.append("note: AdamW's moments stay behind; keep them with --optimizer optimizer.safetensors")
    return notes


def to_pth(source: Path, target: Path, optimizer: Path | None = None, like: Path | None = None) -> list[str]:
    """Write the bundle `source` as the checkpoint `target`; returns notes for the user.

    The file holds {"model_state_dict", "optimizer_state_dict", "scheduler_state_dict",
    "epoch", "loss"}, opens with `weights_only=True`, and the original script resumes from
    it: with the moments in `optimizer`, else with a fresh AdamW at epoch 0. AdamW's state
    goes by the order of the parameters: that of the checkpoint `like`, of the one that
    `optimizer` was made from, or `torch_ref.original.ORDER`.

    Raises UserError for a source that is no bundle, weights that the script's network
    would misread, and an `optimizer` of other weights.
    """
    bundle = load_bundle(source)
    notes = _fitness(source, bundle)
    state = {name: value.contiguous() for name, value in bundle.model.state_dict().items()}
    order = in_order(state)
    if optimizer is None:
        held = fresh(len(parameters(order)), settings()[0]["optim"])
        notes.append("note: without --optimizer the script starts with a fresh AdamW, at epoch 0")
    else:
        training = _paired(optimizer, source, bundle)
        try:
            notes += _pace(optimizer, training)
            order = training.facts.get("original", {}).get("order", order)
            if like is not None:
                order = list(read_checkpoint(like).state)
            held = to_checkpoint(training, state, bundle.config, order)
            state |= batches(training, state)
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as error:
            raise UserError(f"--optimizer {optimizer} is not complete ({error!r}); write it again") from error
    # As bytes: where the disk is full, the library raises an error of its own.
    packed = io.BytesIO()
    torch.save({"model_state_dict": {name: state[name] for name in order}, **held}, packed)
    write_bytes(target, packed.getvalue())
    return notes


def _training(source: Path, checkpoint: Checkpoint) -> Training:
    try:
        return from_checkpoint(checkpoint.training, checkpoint.state, checkpoint.config)
    except UserError as error:
        raise UserError(f"checkpoint {source}: {error}") from None


def _fitness(source: Path, bundle: Bundle) -> list[str]:
    """Notes on weights that the script's network can use; UserError for those that it would misread."""
    model, diffusion = bundle.config["model"], bundle.config["diffusion"]
    why = None
    if model["architecture"] != "seed":
        why = "its network is of the residual family, which the original script's cannot hold"
    elif model["output_activation"] != "tanh":
        why = (
            "its weights were trained without a tanh at the end, and the original script's network would squash what "
            "they predict; for the way back train with --model.output-activation tanh"
        )
    elif diffusion.get("prediction") != "eps":
        why = f"its network predicts {diffusion.get('prediction')}, which the original script would take for eps"
    if bundle.alphas_cumprod is None:
        why = "its process is not the original script's gaussian diffusion"
    if why or bundle.alphas_cumprod is None:
        raise UserError(f"bundle {source}: {why}")
    if np.array_equal(bundle.alphas_cumprod, settings()[1]):
        return []
    return ["note: these weights were trained with another noise schedule than the original script's; set it there too"]


def _paired(optimizer: Path, source: Path, bundle: Bundle) -> Training:
    """The training that belongs to the bundle."""
    if (bundle.config.get("optim") or {}).get("ema_decay"):
        raise UserError(
            f"bundle {source} holds averaged weights, and AdamW's moments belong to the raw ones; leave out --optimizer"
        )
    training = read_training(optimizer)
    if training.weights_digest != bundle.weights_digest:
        raise UserError(
            f"--optimizer {optimizer} belongs to the weights {training.weights_digest[:16]}, and {source} holds "
            f"{bundle.weights_digest[:16]}; give the two that one command wrote"
        )
    return training


def _pace(optimizer: Path, training: Training) -> list[str]:
    """A note where the script's StepLR takes over from another schedule; UserError where it could not learn."""
    kind, rate = training.facts.get("schedule"), training.facts.get("learning_rate")
    if kind == "step":
        return []
    if not rate:
        raise UserError(
            f"--optimizer {optimizer} is from the end of a {kind} schedule, at a learning rate of 0; leave it out, and "
            "the script starts with a fresh AdamW"
        )
    return [f"note: the script has no {kind} schedule; it goes on by its StepLR, from a learning rate of {rate:.3g}"]


def main(argv: Sequence[str] | None = None) -> None:
    """The command line. Raises UserError for a suffix or a path that cannot be used."""
    words = plugins.take(argv, "torch")
    parser = Parser(
        prog="python -m torch_ref.convert",
        description="Turn a .pth checkpoint of the original script into a bundle, or a bundle into such a checkpoint.",
    )
    parser.add_argument("source", type=Path, help="original.pth, or the bundle model.safetensors")
    parser.add_argument("target", type=Path, help="file to write, of the other kind")
    parser.add_argument(
        "--optimizer",
        type=Path,
        help="optimizer.safetensors with AdamW's moments: written together with a bundle, or read with its bundle",
    )
    parser.add_argument(
        "--like", type=Path, help="a checkpoint of the script, whose order of parameters the .pth written then has"
    )
    args = parser.parse_args(words)
    suffixes = (args.source.suffix, args.target.suffix)
    inward = suffixes == (".pth", ".safetensors")
    if not inward and suffixes != (".safetensors", ".pth"):
        raise UserError(
            f"cannot convert {args.source.name} to {args.target.name}; give a .pth and a .safetensors, in either order"
        )
    if args.like is not None and (inward or args.optimizer is None):
        raise UserError(f"--like {args.like} is for writing a .pth with --optimizer; leave it out")
    check_input_file(args.source, "checkpoint" if inward else "bundle")
    check_output_file(args.target)
    if inward and args.optimizer is not None:
        check_optimizer_output(args.optimizer, args.target)
    notes = (
        from_pth(args.source, args.target, args.optimizer)
        if inward
        else to_pth(args.source, args.target, args.optimizer, args.like)
    )
    for path in (args.target, args.optimizer) if inward and args.optimizer is not None else (args.target,):
        print(f"{path}  {path.stat().st_size / 1e6:.1f} MB")
    for note in notes:
        print(note)


def check_optimizer_output(path: Path, target: Path) -> None:
    """Raise UserError unless the moments can be written there, beside the bundle."""
    check_output_file(path, "--optimizer")
    if path.suffix != ".safetensors" or path.resolve() == target.resolve():
        raise UserError(f"--optimizer {path} must be a .safetensors of its own; name another file")


def cli() -> None:
    """Entry point of the console script."""
    run(main)


if __name__ == "__main__":
    cli()
