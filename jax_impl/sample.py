"""Draw with trained weights: `python -m jax_impl.sample --run runs/x --input photo.jpg --output sunset.png`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from export.edge.choices import Spacing
from export.edge.disk.folders import Job, left_out, plan_jobs
from export.edge.errors import UserError, run
from export.edge.pictures.arrays import working_sides
from export.edge.pictures.files import open_photo, picture_size, save_picture
from export.edge.pictures.frames import check_frames, save_frames
from export.edge.pictures.tags import Tags
from jax_impl.config.command import parse
from jax_impl.config.tree import Config
from jax_impl.devices import memory_errors, start_devices
from jax_impl.diffusion.sampling import SamplingOptions
from jax_impl.runs.publishing import open_weights
from jax_impl.runs.translator import Translator, make_translator
from jax_impl.training.checkpoint import NEWEST


@dataclass(frozen=True)
class SampleArgs:
    """Sample pictures with the weights of a run or of a bundle."""

    input: tuple[Path, ...]
    """Photos to translate, or one folder of photos; they are never overwritten."""
    output: Path
    """Picture to write: .png, .jpg or .webp; for several photos or a folder of them, a folder for the .png results."""
    run: Path | None = None
    """Run folder whose weights are used, as given to training."""
    checkpoint: str = NEWEST
    """Which checkpoint of --run: `newest`, `best` (lowest validation loss) or the number of a step."""
    weights: Path | None = None
    """Bundle (model.safetensors) whose weights are used in place of --run."""
    sampler: str | None = None
    """`ddim`, `ddpm` (ancestral, re-spaced when steps < T), `dpmpp` (DPM-Solver++ 2M), `heun`, or, to compare with,
    `original` (the original script's loop, which leaves noise in); default: what the weights recommend."""
    steps: int | None = None
    """Sampling steps, at most T; each is one call of the network, with `heun` two in all but the first and last.
    Default: what the weights recommend."""
    spacing: Spacing | None = None
    """Which timesteps the steps visit; `original` has its own. Default: what the weights recommend."""
    guidance: float | None = None
    """Scale of classifier-free guidance, for weights trained with diffusion.cond_dropout; 1 is none. Default: what the
    weights recommend."""
    realism: float | None = None
    """Realism, 0 to 1, of weights that were trained with diffusion.slider: 0 is the mean of all plausible pictures, 1
    the sharpest one. Default: 1."""
    eta: float = 0.0
    """Share of the noise that ddim adds again in each step, 0 (none) to 1."""
    size: int | None = None
    """Side in pixels that photos are resized to; default: data.size of training."""
    seed: int = 0
    """Seed of the start noise, 0 to 2^63 - 1; export.edge starts from the same noise."""
    batch_size: int = 8
    """Largest number of photos of one working size that are sampled together, at least 1; as many are in memory."""
    save_intermediate: bool = False
    """Also write start noise, about ten states and a film strip to diffusion_outputs/ next to the output."""


@memory_errors("choose a smaller --batch-size or --size, or set JAX_PLATFORMS=cpu")
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and draw a picture for every photo."""
    args = parse(SampleArgs, argv, "python -m jax_impl.sample")
    if not args.input:
        raise UserError("--input names no photo; name one or more, or a folder of them")
    jobs = plan_jobs(args.input, args.output, suffix=".png")
    if args.save_intermediate:
        folders = {intermediate_folder(output, len(jobs) == 1).resolve() for _, output in jobs}
        for photo, _ in jobs:
            if (folder := photo.resolve().parent) in folders:
                check_frames(folder, photo)
    if not 0 <= args.seed < 2**63:
        raise UserError(f"--seed {args.seed} is out of range; choose 0 to {2**63 - 1}")
    if args.batch_size < 1:
        raise UserError(f"--batch-size is {args.batch_size}: choose at least 1")
    for line in left_out(args.input):
        print(f"note: {line}", file=sys.stderr)
    start_devices()
    problem, params, stats = open_weights(args.run, args.weights, args.checkpoint)
    options = SamplingOptions(args.sampler, args.steps, args.spacing, args.guidance, args.eta, args.realism)
    translator = make_translator(problem, params, stats, options, size=args.size, keep=args.save_intermediate)
    sampler = PhotoSampler(translator, seed=args.seed, alone=len(jobs) == 1)
    size = translator.size
    skipped = 0
    with tqdm(total=len(jobs), unit="picture", disable=None) as bar:
        for batch in batches_of_one_size(jobs, problem.config, size, args.batch_size):
            for fault in sampler(batch):
                if sampler.alone:
                    raise UserError(fault)
                skipped += 1
                tqdm.write(f"skipped: {fault}", file=sys.stderr)
            bar.update(len(batch))
    print(args.output)
    if skipped:
        raise UserError(f"{skipped} of {len(jobs)} photos were skipped, see above; mend or remove them")


@dataclass(frozen=True)
class Photo:
    """A photo at its working size, and the way back to its own."""

    inner: np.ndarray
    """uint8 (height, width, 3)"""
    restore: Callable[[np.ndarray], np.ndarray]
    """From a result of working size, floats in [-1, 1], to a picture of the photo's size, see `export.edge.detail`."""
    tags: Tags
    output: Path


def open_at_size(job: Job, translator: Translator) -> Photo:
    """Open the photo of a job and bring it to the translator's size as training brings its pictures to data.size."""
    source, output = job
    picture, tags = open_photo(source)
    inner = translator.inner(picture)
    return Photo(inner, lambda result: translator.outer(picture, inner, result), tags, output)


def batches_of_one_size(jobs: Sequence[Job], config: Config, size: int, most: int) -> Iterator[list[Job]]:
    """Photos of one working size together, at most `most` at a time; only their headers are read.

    Raises UserError, before the first batch, for a file that is no picture.
    """
    groups: dict[tuple[int, int], list[Job]] = {}
    for job in jobs:
        sides = picture_size(job[0])
        shape = working_sides(*sides, size, config.size_multiple, config.data.fit)
        groups.setdefault(shape, []).append(job)
    for group in groups.values():
        for start in range(0, len(group), most):
            yield group[start : start + most]


@dataclass(frozen=True)
class PhotoSampler:
    """Opens the photos of a batch, samples a picture for each, and writes it."""

    translator: Translator
    seed: int
    alone: bool
    """Whether there is one photo only: its states need no folder of their own."""

    def __call__(self, jobs: Sequence[Job]) -> list[str]:
        """Write the results of photos of one working size; returns a message for each that cannot be opened."""
        faults: list[str] = []
        groups: dict[tuple[int, ...], list[Photo]] = {}
        for job in jobs:
            try:
                photo = open_at_size(job, self.translator)
            except UserError as error:
                faults.append(str(error))  # The error itself would keep this batch in memory.
            else:
                # Nearly always one group: a header may leave open which way up a photo is.
                groups.setdefault(photo.inner.shape, []).append(photo)
        for photos in groups.values():
            self._write(photos)
        return faults

    def _write(self, photos: Sequence[Photo]) -> None:
        made = self.translator(np.stack([photo.inner for photo in photos]), self.seed)
        for b, photo in enumerate(photos):
            result = photo.restore(made.results[b])
            photo.output.parent.mkdir(exist_ok=True)
            save_picture(photo.output, result, photo.tags)
            if self.translator.saved:
                states = [(i, t, made.frames[k, b]) for k, (i, t) in enumerate(self.translator.saved.items())]
                folder = intermediate_folder(photo.output, self.alone)
                folder.parent.mkdir(exist_ok=True)
                save_frames(folder, made.start, states, result)


def intermediate_folder(output: Path, alone: bool) -> Path:
    """The folder for the pictures along the way to `output`, which may be one of several."""
    folder = output.parent / "diffusion_outputs"
    return folder if alone else folder / output.stem


def cli() -> None:
    """Entry point of the console script."""
    run(main)


if __name__ == "__main__":
    cli()
