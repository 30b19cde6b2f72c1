"""One method of the quality run: a training for so many seconds, then its pictures of the held-out inputs.

A preset's own settings are kept, apart from the length, the picture size and the batch. Compilation is not counted; it
is known beforehand how many epochs fit, so that the learning rate reaches its end.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from export.edge.disk.files import write_json
from export.edge.errors import run
from export.edge.model.layout import DENOISER
from export.edge.pictures.files import save_picture
from jax_impl.config.presets import PRESETS
from jax_impl.config.tree import Config
from jax_impl.data.loader import open_held_out_pairs, open_pairs
from jax_impl.data.sources.registry import open_source
from jax_impl.evaluation.methods import of_run
from jax_impl.runs.bundles import write_bundle
from jax_impl.runs.folder import open_run
from jax_impl.runs.publishing import published
from jax_impl.train import train
from jax_impl.training.compiled import keep_programs
from jax_impl.training.dry_run import estimate
from jax_impl.training.mesh import make_mesh, on_one_device
from jax_impl.training.session import Session
from jax_impl.training.stages.registry import StageConfig
from jax_impl.training.starting import enter
from tests.figures import pix2pix
from tests.figures.accelerator.cases import RESULT
from tests.figures.accelerator.preset import NARROW
from tests.figures.counts import check_counts


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
    args = parser.parse_args(argv)
    check_counts(args, "size", "batch")
    check_counts(args, "seconds", least=0)
    return args


def configure(args: argparse.Namespace) -> Config:
    """The preset's settings for this run; its length is still to be found."""
    config = PRESETS.find(args.method, "method")()
    narrow = {name: 8 for name in NARROW if args.toy and hasattr(config.model, name)}
    model = replace(config.model, **narrow)
    data = replace(config.data, path=args.data, direction=args.direction, size=args.size, repeats=1)
    quiet = replace(config.train, batch_size=args.batch, sample_every=0, checkpoint_minutes=0.0, keep_checkpoints=1)
    return replace(config, model=model, data=data, train=quiet)


def fit_length(session: Session, seconds: float) -> tuple[tuple[StageConfig, ...], int]:
    """The stages, each as long as its share of the preset's own time allows, and the number of parameters.

    Time is measured on a few steps of each stage, after compilation.
    """
    stages, networks, costs, parameters = session.config.stages, {}, [], 0
    for index in range(len(stages)):
        position = enter(session, index, networks)
        measured, state = estimate(session, position)
        costs.append(measured.step_seconds * session.length(index).per_epoch)
        networks = on_one_device(position.stage.networks(state), session.mesh)
        parameters = measured.parameters if index == 0 else parameters
    own = [session.length(index).epochs for index in range(len(stages))]
    scale = seconds / sum(epochs * cost for epochs, cost in zip(own, costs, strict=True))
    lengths = [max(1, int(epochs * scale)) for epochs in own]
    return tuple(replace(stage, epochs=n) for stage, n in zip(stages, lengths, strict=True)), parameters


def ours(args: argparse.Namespace) -> dict[str, Any]:
    """A preset, trained for the epochs that fit, and its pictures."""
    keep_programs()
    config, place = configure(args), args.output / "run"
    source = open_source(config.data)
    pairs, held_out = open_pairs(source, config.data), open_held_out_pairs(source, config.data)
    session = Session(config, place, pairs, held_out, make_mesh(config))
    stages, parameters = fit_length(session, args.seconds)
    epochs = [stage.epochs or 0 for stage in stages]
    config = replace(config, stages=stages, train=replace(config.train, checkpoint_every=max(epochs)))
    began = time.monotonic()
    train(config, place, pairs, held_out)
    seconds = time.monotonic() - began
    trained = open_run(place)
    networks = published(trained)
    process = trained.problem.process.published()
    write_bundle(args.output / "model.safetensors", networks, process, trained.config)
    method = of_run("model", args.method, trained, networks[DENOISER])
    pictures = method.draw(held_out.cond, range(len(held_out.names)))
    (args.output / "pictures").mkdir(exist_ok=True)
    for name, picture in zip(held_out.names, pictures, strict=True):
        save_picture(args.output / "pictures" / f"{name}.png", picture)
    images = sum(epochs) * session.length(0).per_epoch * args.batch
    return {"seconds": seconds, "epochs": epochs, "images": images, "parameters": parameters}


def rival(args: argparse.Namespace) -> dict[str, Any]:
    """pix2pix, for the same seconds; its pictures lie where ours would."""
    words = [
        "--data.path", args.data, "--data.direction", args.direction, "--size", str(args.size),
        "--seconds", f"{args.seconds:g}", "--batch", "4", "--output", str(args.output / "pix2pix"),
        *(["--width", "8"] if args.toy else []),
    ]  # fmt: skip
    pix2pix.main(words)
    (args.output / "pix2pix" / pix2pix.PICTURES).rename(args.output / "pictures")
    found = json.loads((args.output / "pix2pix" / pix2pix.RESULT).read_text(encoding="utf-8"))
    return {name: found[name] for name in ("seconds", "images", "parameters")}


if __name__ == "__main__":
    run(main)
