"""Draw with a run's weights: `python -m jax_impl.sample --run runs/x --input photo.jpg --output sunset.png`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from tqdm import tqdm

from export.edge.errors import UserError, run
from export.edge.frames import check_folder, kept_steps, save_frames
from export.edge.noise import START, normal
from export.edge.pictures import check_output_picture, open_picture, save_picture, to_float, to_uint8, working
from jax_impl.bundle import final_weights
from jax_impl.config import SamplerName
from jax_impl.data.pairs import PICTURES
from jax_impl.diffusion.samplers import Draw, SamplerConfig, make_grid, sample
from jax_impl.run_folder import TrainedRun, open_run


@dataclass(frozen=True)
class SampleArgs:
    """Draw pictures with a run's weights."""

    run: Path
    """Run folder, as given to training."""
    input: tuple[Path, ...]
    """Photos, or one folder of photos."""
    output: Path
    """Picture to write; with several photos, a folder for them."""
    sampler: SamplerName | None = None
    """`ddpm` (ancestral, re-spaced when steps < T) or `ddim`; default: what the run recommends."""
    steps: int | None = None
    """Sampling steps, at most T; default: what the run recommends."""
    eta: float = 0.0
    """Noise that ddim puts back at each step, 0 to 1."""
    seed: int = 0
    """Start noise; the same seed gives export.edge the same start."""
    save_intermediate: tyro.conf.FlagCreatePairsOff[bool] = False
    """Also write start noise, about ten steps and a film strip to diffusion_outputs/ beside the output."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and draw a picture for every photo."""
    args = tyro.cli(SampleArgs, args=argv, prog="python -m jax_impl.sample")
    jobs = plan_jobs(args.input, args.output)
    if not 0 <= args.seed < 2**63:
        raise UserError(f"--seed {args.seed} is out of range; choose 0 to {2**63 - 1}")
    folders = intermediate_folders(jobs) if args.save_intermediate else {}
    trained = open_run(args.run)
    diffusion = trained.config.diffusion
    config = SamplerConfig(args.sampler or diffusion.sampler, args.steps or diffusion.sample_steps, args.eta)
    if args.steps == 0:
        raise UserError(f"--steps is 0: choose 1 to {diffusion.timesteps}")
    make_grid(trained.alphas_cumprod, config)
    draw = make_draw(trained, config, kept_steps(config.steps) if args.save_intermediate else ())
    for photo, output in tqdm(jobs, unit="picture", disable=None if len(jobs) > 1 else True):
        x_start, drawn, result = translate(trained, draw, open_picture(photo), args.seed)
        if len(jobs) != 1:
            output.parent.mkdir(exist_ok=True)
        save_picture(output, result)
        if args.save_intermediate:
            grid = make_grid(trained.alphas_cumprod, config)
            kept = kept_steps(config.steps)
            states = [(i, int(grid.t[i]), np.asarray(frame[0])) for i, frame in zip(kept, drawn.frames, strict=True)]
            folders[photo].parent.mkdir(exist_ok=True)
            save_frames(folders[photo], x_start, states, result)
    print(args.output)


def plan_jobs(inputs: Sequence[Path], output: Path) -> list[tuple[Path, Path]]:
    """Pairs of photo and result; UserError before anything is decoded when they do not go together."""
    folder = len(inputs) == 1 and inputs[0].is_dir()
    photos = sorted(p for p in inputs[0].iterdir() if p.suffix.lower() in PICTURES) if folder else list(inputs)
    for photo in photos:
        if not photo.is_file():
            raise UserError(f"--input {photo} does not exist; check the path")
    if not photos:
        raise UserError(f"--input {inputs[0]} holds no pictures; name a folder with some")
    if len(photos) == 1 and not folder:
        return [(photos[0], check_output_picture(output, "--output"))]
    if output.suffix and not output.is_dir():
        raise UserError(f"--output {output} names one picture for {len(photos)} photos; name a folder")
    check_folder(output)
    jobs = [(photo, output / f"{photo.stem}.png") for photo in photos]
    names = [result.name for _, result in jobs]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"several inputs would be written to {output / name}; rename one of them")
    return jobs


def intermediate_folders(jobs: Sequence[tuple[Path, Path]]) -> dict[Path, Path]:
    """The folder for the pictures along the way of each photo."""
    if len(jobs) == 1:
        photo, output = jobs[0]
        return {photo: output.parent / "diffusion_outputs"}
    return {photo: output.parent / "diffusion_outputs" / output.stem for photo, output in jobs}


DrawFunction = Callable[[jax.Array, jax.Array, jax.Array], Draw]


def make_draw(trained: TrainedRun, config: SamplerConfig, kept: Sequence[int] = ()) -> DrawFunction:
    """A jitted (cond, x_start, key) -> Draw with the run's final weights; arrays (batch, height, width, 3)."""
    params, stats = final_weights(trained)
    diffusion = trained.config.diffusion

    @jax.jit
    def draw(cond: jax.Array, x_start: jax.Array, key: jax.Array) -> Draw:
        def denoise(x_t: jax.Array, cond: jax.Array, t: jax.Array) -> jax.Array:
            return trained.problem.network.apply(params, stats, x_t, cond, t)[0]

        return sample(
            denoise,
            cond,
            x_start,
            key,
            trained.alphas_cumprod,
            config,
            prediction=diffusion.prediction,
            clamp=diffusion.clamp,
            kept=kept,
        )

    return draw


def translate(
    trained: TrainedRun, draw: DrawFunction, picture: np.ndarray, seed: int
) -> tuple[np.ndarray, Draw, np.ndarray]:
    """Translate one photo, uint8 (height, width, 3): its start noise, the draw, and the result in the photo's size."""
    data = trained.config.data
    inner, restore = working(picture, data.size, data.fit, trained.config.model.size_multiple)
    x_start = normal(seed, START, (1, *inner.shape))
    drawn = draw(jnp.asarray(to_float(inner)[None]), jnp.asarray(x_start), jax.random.key(seed))
    return x_start[0], drawn, restore(to_uint8(np.asarray(drawn.x0[0])))


def cli() -> None:
    """Entry point of the console script."""
    run(main)


if __name__ == "__main__":
    cli()
