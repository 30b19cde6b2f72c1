"""One method of the quality run: a training for so many seconds, then its pictures of the held-out inputs.

A preset's own settings are kept, apart from the length, the picture size and the batch. Compilation is not counted; it
is known beforehand how many epochs fit, so that the learning rate reaches its end.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from export.edge.disk.files import write_json
from export.edge.errors import UserError, run
from export.edge.pictures.files import save_picture
from jax_impl.config.presets import PRESETS
from jax_impl.config.tree import Config
from jax_impl.data.loader import open_held_out_pairs, open_pairs
from jax_impl.data.sources.registry import open_source
from jax_impl.evaluation.methods import of_run
from jax_impl.runs.bundles import write_bundle
from jax_impl.runs.folder import open_run
from jax_impl.runs.publishing import final_weights, published
from jax_impl.train import train
from jax_impl.training.compiled import keep_programs
from jax_impl.training.dry_run import estimate
from jax_impl.training.mesh import make_mesh
from jax_impl.training.session import Session
from jax_impl.training.starting import enter
from tests.figures.accelerator.cases import RESULT
from tests.figures.accelerator.preset import NARROW


def main(argv: Sequence[str] | None = None) -> None:
    """Train one method and leave its pictures and what it took."""
    args = parse(argv)
    args.output.mkdir(parents=True, exist_ok=True)
    if args.method == "pix2pix":
        found = rival(args)
    else:
        found = ours(args)
    write_json(args.output / RESULT, {"method": args.method, **found})


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.figures.accelerator.quality")
    parser.add_argument("method", help="a preset, or pix2pix")
    parser.add_argument("--data", required=True)
    parser.add_argument("--direction", default="forward")
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--toy", action="store_true", help="a network of few channels")
    parser.add_argument("--output", type=Path, required=True)
    return parser.parse_args(argv)


def configure(args: argparse.Namespace) -> Config:
    """The preset's settings for this run; its length is still to be found."""
    config = PRESETS.find(args.method, "method")()
    narrow = {name: 8 for name in NARROW if args.toy and hasattr(config.model, name)}
    model = replace(config.model, **narrow)
    data = replace(config.data, path=args.data, direction=args.direction, size=args.size, repeats=1)
    quiet = replace(config.train, batch_size=args.batch, epochs=1, sample_every=0, checkpoint_minutes=0.0)
    return replace(config, model=model, data=data, train=quiet)


def ours(args: argparse.Namespace) -> dict[str, Any]:
    """A preset, trained for the epochs that fit, and its pictures."""
    keep_programs()
    config = configure(args)
    source = open_source(config.data)
    pairs, held_out = open_pairs(source, config.data), open_held_out_pairs(source, config.data)
    session = Session(config, args.output / "run", pairs, held_out, make_mesh(config))
    measured, _ = estimate(session, enter(session, 0, {}))
    epochs = max(1, int(args.seconds / (measured.step_seconds * session.length(0).per_epoch)))
    # Validated, plotted and saved a few times in all, whatever the length.
    length = replace(config.train, epochs=epochs, checkpoint_every=max(1, epochs // 2), keep_checkpoints=1)
    began = time.monotonic()
    train(replace(config, train=length), args.output / "run", pairs, held_out)
    seconds = time.monotonic() - began
    trained = open_run(args.output / "run")
    weights = final_weights(trained)
    write_bundle(
        args.output / "model.safetensors", published(trained), trained.problem.process.published(), trained.config
    )
    method = of_run("model", args.method, trained, weights)
    pictures = method.draw(held_out.cond, range(len(held_out.names)))
    (args.output / "pictures").mkdir(exist_ok=True)
    for name, picture in zip(held_out.names, pictures, strict=True):
        save_picture(args.output / "pictures" / f"{name}.png", picture)
    return {
        "seconds": seconds,
        "epochs": epochs,
        "images": epochs * session.length(0).per_epoch * args.batch,
        "parameters": measured.parameters,
        "step_seconds": measured.step_seconds,
    }


def rival(args: argparse.Namespace) -> dict[str, Any]:
    """pix2pix, for the same seconds."""
    words = [
        "tests.figures.pix2pix", "--data.path", args.data, "--data.direction", args.direction,
        "--size", str(args.size), "--seconds", str(args.seconds), "--output", str(args.output), "--bf16",
        *(("--width", "8") if args.toy else ()),
    ]  # fmt: skip
    done = subprocess.run([sys.executable, "-m", *words], check=False, capture_output=True, text=True)
    if done.returncode:
        raise UserError((done.stdout + done.stderr).strip().splitlines()[-1])
    return json.loads((args.output / "pix2pix.json").read_text())


if __name__ == "__main__":
    run(main)
