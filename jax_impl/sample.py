"""Draw with trained weights: `python -m jax_impl.sample --run runs/x --input photo.jpg --output sunset.png`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from tqdm import tqdm

from export.edge.detail import to_photo_size
from export.edge.disk.files import check_output_folder
from export.edge.errors import UserError, run
from export.edge.pictures.arrays import check_size, to_float, working
from export.edge.pictures.files import SUFFIXES, check_output_picture, open_photo, save_picture
from export.edge.pictures.frames import kept_steps, save_frames
from export.edge.pictures.tags import Tags
from export.edge.sampling.noise import start_noise
from jax_impl.config.command import parse
from jax_impl.config.tree import AnySamplerName, Config, SpacingName
from jax_impl.diffusion.draw import Wishes, make_draw, resolve
from jax_impl.diffusion.samplers import make_plan
from jax_impl.runs.publishing import open_weights
from jax_impl.training.checkpoint import NEWEST


@dataclass(frozen=True)
class SampleArgs:
    """Draw pictures with the weights of a run or of a bundle."""

    input: tuple[Path, ...]
    """Photos, or one folder of photos."""
    output: Path
    """Picture to write; with several photos, a folder for them."""
    run: Path | None = None
    """Run folder, as given to training."""
    checkpoint: str = NEWEST
    """Which of the run's checkpoints: `newest`, `best` (lowest validation loss) or the number of a step."""
    weights: Path | None = None
    """Instead of a run: a bundle, model.safetensors."""
    sampler: AnySamplerName | None = None
    """`ddim`, `ddpm` (ancestral, re-spaced when steps < T), `dpmpp` (DPM-Solver++ 2M), `heun`, or, to compare with,
    `original` (the original script's loop, which leaves noise in); default: what the weights recommend."""
    steps: int | None = None
    """Sampling steps, at most T; each is one call of the network, with `heun` two in all but the first and last.
    Default: what the weights recommend."""
    spacing: SpacingName | None = None
    """Which timesteps the steps visit; `original` has its own. Default: what the weights recommend."""
    guidance: float | None = None
    """Scale of guidance, for weights trained with diffusion.cond_dropout; 1 is none. Default: what they recommend."""
    eta: float = 0.0
    """Noise that ddim puts back at each step, 0 to 1."""
    size: int | None = None
    """Side that photos are brought to, as data.size in training, pixels. Default: data.size."""
    seed: int = 0
    """Start noise; the same seed gives export.edge the same start."""
    batch_size: int = 8
    """Most photos drawn together; only photos of one working size can be."""
    save_intermediate: tyro.conf.FlagCreatePairsOff[bool] = False
    """Also write start noise, about ten states and a film strip to diffusion_outputs/ beside the output."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and draw a picture for every photo."""
    args = parse(SampleArgs, argv, "python -m jax_impl.sample")
    jobs = plan_jobs(args.input, args.output)
    if not 0 <= args.seed < 2**63:
        raise UserError(f"--seed {args.seed} is out of range; choose 0 to {2**63 - 1}")
    if args.batch_size < 1:
        raise UserError(f"--batch-size is {args.batch_size}: choose at least 1")
    problem, params, stats, alphas_cumprod = open_weights(args.run, args.weights, args.checkpoint)
    diffusion = problem.config.diffusion
    config = resolve(diffusion, Wishes(args.sampler, args.steps, args.spacing, args.guidance, args.eta))
    plan = make_plan(alphas_cumprod, config, diffusion.prediction)
    kept = kept_steps(len(plan)) if args.save_intermediate else ()
    draw = make_draw(problem, alphas_cumprod, config, kept)
    size = problem.config.data.size
    if args.size is not None:
        size = check_size(args.size, problem.config.model.size_multiple)
    photos = [prepare(job, problem.config, size) for job in jobs]

    with tqdm(total=len(photos), unit="picture", disable=None) as bar:
        for batch in batches(photos, args.batch_size):
            cond = np.stack([to_float(photo.inner) for photo in batch])
            x_start = start_noise(args.seed, (1, *cond.shape[1:]))
            x_starts = jnp.broadcast_to(jnp.asarray(x_start), cond.shape)
            keys = jnp.broadcast_to(jax.random.key(args.seed), (len(batch),))
            drawn = draw(params, stats, jnp.asarray(cond), x_starts, keys)
            results, frames = np.asarray(drawn.x0), np.asarray(drawn.frames)
            for b, photo in enumerate(batch):
                result = photo.restore(results[b])
                photo.output.parent.mkdir(exist_ok=True)
                save_picture(photo.output, result, photo.tags)
                if args.save_intermediate:
                    states = [(i, int(plan.t[i]), frames[k, b]) for k, i in enumerate(kept)]
                    folder = intermediate_folder(photo.output, len(jobs))
                    folder.parent.mkdir(exist_ok=True)
                    save_frames(folder, x_start[0], states, result)
            bar.update(len(batch))
    print(args.output)


@dataclass(frozen=True)
class Photo:
    """A photo at its working size, and the way back to its own."""

    inner: np.ndarray
    """uint8 (height, width, 3)"""
    restore: Callable[[np.ndarray], np.ndarray]
    """From a result of working size, floats in [-1, 1], to a picture of the photo's size, see `export.edge.detail`."""
    tags: Tags
    output: Path


def prepare(job: tuple[Path, Path], config: Config, size: int) -> Photo:
    """Open the photo of a job and bring it to `size` as training brings its pictures to data.size."""
    source, output = job
    picture, tags = open_photo(source)
    fit = config.data.fit
    inner = working(picture, size, fit, config.model.size_multiple)
    return Photo(inner, lambda result: to_photo_size(picture, inner, result, fit), tags, output)


def batches(photos: Sequence[Photo], size: int) -> Iterator[list[Photo]]:
    """Photos of one working size together, at most `size` at a time."""
    groups: dict[tuple[int, ...], list[Photo]] = {}
    for photo in photos:
        groups.setdefault(photo.inner.shape, []).append(photo)
    for group in groups.values():
        for start in range(0, len(group), size):
            yield group[start : start + size]


def plan_jobs(inputs: Sequence[Path], output: Path) -> list[tuple[Path, Path]]:
    """Pairs of photo and result; UserError before anything is decoded when they do not go together."""
    if not inputs:
        raise UserError("--input names no photo; name one or more, or a folder of them")
    folder = len(inputs) == 1 and inputs[0].is_dir()
    photos = sorted(p for p in inputs[0].iterdir() if p.suffix.lower() in SUFFIXES) if folder else list(inputs)
    for photo in photos:
        if not photo.is_file():
            raise UserError(f"--input {photo} does not exist; check the path")
    if not photos:
        raise UserError(f"--input {inputs[0]} holds no pictures; name a folder with some")
    if len(photos) == 1 and not folder:
        return [(photos[0], check_output_picture(output, "--output"))]
    if output.suffix and not output.is_dir():
        raise UserError(f"--output {output} names one picture for {len(photos)} photos; name a folder")
    check_output_folder(output, "--output")
    jobs = [(photo, output / f"{photo.stem}.png") for photo in photos]
    names = [result.name for _, result in jobs]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"several inputs would be written to {output / name}; rename one of them")
    return jobs


def intermediate_folder(output: Path, jobs: int) -> Path:
    """The folder for the pictures along the way to `output`, which is one of so many."""
    folder = output.parent / "diffusion_outputs"
    return folder if jobs == 1 else folder / output.stem


def cli() -> None:
    """Entry point of the console script."""
    run(main)


if __name__ == "__main__":
    cli()
