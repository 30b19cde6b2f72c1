"""The same weights, drawn by the original script's loop and by the samplers that took its place.

`python -m tests.figures.samplers --run runs/x --output docs/samplers.png`
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from export.edge.errors import UserError, run
from export.edge.metrics import psnr
from export.edge.pictures.arrays import to_float, to_uint8
from export.edge.pictures.files import save_picture
from export.edge.pictures.kinds import check_output_picture
from export.edge.pictures.sheets import grid
from export.edge.sampling.noise import start_noise
from jax_impl.config.command import parse
from jax_impl.data.loader import load
from jax_impl.diffusion.sampling import SamplingOptions, make_sampler, resolve
from jax_impl.evaluation.report import chosen
from jax_impl.runs.folder import open_run
from jax_impl.runs.publishing import final_weights

CELL = 192
"""Smallest side of a picture in the figure, pixels."""
COLUMNS: dict[str, str] = {"original": "original loop", "ddim": "DDIM", "ddpm": "re-spaced DDPM"}


@dataclass(frozen=True)
class FigureArgs:
    """Draw held-out pairs of a run with each sampler, from the same start noise, and lay them side by side."""

    run: Path
    """Run folder, as given to training."""
    output: Path
    """Picture to write."""
    pairs: tuple[int, ...] = ()
    """Positions of the held-out pairs, one for each row; default: three, evenly spaced."""
    steps: int = 50
    """Sampling steps, the same for all."""
    seed: int = 0
    """Start noise, the same in every row, as in jax_impl.sample."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, draw, write the picture and print each sampler's PSNR over the pairs shown."""
    args = parse(FigureArgs, argv, "python -m tests.figures.samplers")
    check_output_picture(args.output, "--output")
    trained = open_run(args.run)
    # An impossible number of steps is found out before any work.
    configs = [resolve(trained.problem, SamplingOptions(sampler, args.steps)) for sampler in COLUMNS]
    held_out = load(trained.config.data, "val")
    count = len(held_out.names)
    if count == 0:
        raise UserError(f"--run {args.run} held out no pairs; name a run with some")
    for pair in args.pairs:
        if not 0 <= pair < count:
            raise UserError(f"--pairs {pair} is outside 0 ... {count - 1}, the pairs that the run held out; name those")
    shown = list(args.pairs) or chosen(count, 3)
    cond, x0 = held_out.cond[shown], held_out.x0[shown]
    noise = np.broadcast_to(start_noise(args.seed, (1, *cond.shape[1:])), cond.shape)
    keys = jnp.broadcast_to(jax.random.key(args.seed), (len(cond),))
    weights = final_weights(trained)
    columns, titles = [cond], ["sunrise"]
    for config in configs:
        sampler = make_sampler(trained.problem, config)
        drawn = to_uint8(np.asarray(sampler(*weights, jnp.asarray(to_float(cond)), jnp.asarray(noise), keys).x0))
        title = COLUMNS[config.sampler]
        scores = [psnr(picture, truth) for picture, truth in zip(drawn, x0, strict=True)]
        print(f"{title}, {args.steps} steps: {np.mean(scores):.2f} dB ({', '.join(f'{s:.2f}' for s in scores)})")
        columns.append(drawn)
        titles.append(f"{title}, {args.steps} steps")
    zoom = max(1, -(-CELL // cond.shape[1]))
    rows = [[_enlarge(picture, zoom) for picture in row] for row in zip(*columns, x0, strict=True)]
    save_picture(args.output, grid(rows, titles=[*titles, "true sunset"]))
    print(args.output)


def _enlarge(picture: np.ndarray, zoom: int) -> np.ndarray:
    """Every pixel as a square of its own, so that the figure shows what is there."""
    return np.repeat(np.repeat(picture, zoom, 0), zoom, 1)


if __name__ == "__main__":
    run(main)
