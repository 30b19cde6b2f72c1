"""Whatever can be scored, as one kind of function: an exported model, a run's weights, pictures on disk, a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from export.edge.detail import to_photo_size
from export.edge.disk.names import as_text, partners
from export.edge.errors import UserError
from export.edge.model.artifact import Artifact
from export.edge.pictures.arrays import fit_square, to_float, to_uint8, working
from export.edge.pictures.files import open_picture
from export.edge.pictures.kinds import pictures_in
from export.edge.sampling.noise import start_noise
from export.edge.translate import Options, translate
from jax_impl.diffusion.sampling import AS_RECOMMENDED, SamplingOptions, make_sampler, resolve
from jax_impl.evaluation.baselines import Draw, Translate, color_transfer, copy_input, mean_target, pixel_ridge
from jax_impl.evaluation.bilateral import bilateral_grid
from jax_impl.evaluation.held_out import HeldOut
from jax_impl.evaluation.retrieval import retrieval, with_detail
from jax_impl.model.codec import Codec
from jax_impl.model.network import Tree
from jax_impl.runs.folder import TrainedRun

BATCH = 8
DETAIL = (
    ("ridge_grey_2", "ridge + retrieved grey detail, 2 px", 2.0, True),
    ("ridge_grey_4", "ridge + retrieved grey detail, 4 px", 4.0, True),
    ("ridge_colour_8", "ridge + retrieved colour detail, 8 px", 8.0, False),
)
"""Key, title, blur in pixels and whether the detail is grey."""
"""Pictures that JAX draws together."""


@dataclass(frozen=True)
class Method:
    """Something to score."""

    name: str
    """Its key in evaluation.json."""
    title: str
    draw: Draw
    chance: bool
    """Whether the seed matters; where it does not, one draw says it all."""
    images_seen: int | None = None
    """Training pictures that went into its weights, repeats counted; None where that is not known."""
    steps: int | None = None
    sampler: str | None = None


def each(by: Translate) -> Draw:
    """A function of one picture, applied to each in turn."""

    def draw(pictures: np.ndarray, seeds: Sequence[int]) -> np.ndarray:
        both = zip(tqdm(pictures, "drawing", unit="picture", leave=False, disable=None), seeds, strict=True)
        return np.stack([by(picture, seed) for picture, seed in both])

    return draw


def of_artifact(model: Artifact, options: SamplingOptions = AS_RECOMMENDED) -> Method:
    """An exported model, run by export.edge."""

    how = Options(
        options.steps, options.sampler, options.spacing, options.eta, options.guidance, realism=options.realism
    )

    return Method(
        name="model",
        title="model",
        draw=each(lambda picture, seed: translate(model, picture, how, seed=seed)),
        chance=True,
        steps=options.steps or model.steps,
        sampler=options.sampler or model.sampler,
    )


def of_run(
    name: str, title: str, run: TrainedRun, weights: tuple[Tree, Tree], options: SamplingOptions = AS_RECOMMENDED
) -> Method:
    """A run's published weights (see runs.publishing), drawn with JAX as jax_impl.sample does.

    Raises UserError for options that cannot be met.
    """
    config = run.config
    # What is impossible is found out before any work.
    chosen = resolve(run.problem, options)
    sampler = make_sampler(run.problem, chosen)

    def batch(pictures: np.ndarray, seeds: Sequence[int]) -> np.ndarray:
        rule = (config.data.size, config.data.fit, config.size_multiple)
        ready = [working(picture, *rule) for picture in pictures]
        cond = np.stack([to_float(inner) for inner in ready])
        shape = config.codec.state_shape((1, *cond.shape[1:]))
        noise = np.concatenate([start_noise(seed, shape) for seed in seeds])
        keys = jnp.stack([jax.random.key(seed) for seed in seeds])
        drawn = np.asarray(sampler(*weights, jnp.asarray(cond), jnp.asarray(noise), keys).x0)
        fit = config.data.fit
        return np.stack([to_photo_size(*one, fit) for one in zip(pictures, ready, drawn, strict=True)])

    def everything(pictures: np.ndarray, seeds: Sequence[int]) -> np.ndarray:
        count = len(pictures)
        # The last batch is filled up, so that one compiled program serves all.
        slots = np.minimum(np.arange(-(-count // BATCH) * BATCH), count - 1).reshape(-1, BATCH)
        rows = [
            batch(pictures[row], [seeds[i] for i in row]) for row in tqdm(slots, "drawing", leave=False, disable=None)
        ]
        return np.concatenate(rows)[:count]

    seen = int(run.state.step) * config.train.batch_size
    return Method(name, title, everything, True, seen, chosen.steps, chosen.sampler)


def of_codec(name: str, codec: Codec, held_out: HeldOut) -> Method:
    """The true targets, encoded and decoded: a network in the codec's states can hardly come nearer to them."""

    def draw(pictures: np.ndarray, seeds: Sequence[int]) -> np.ndarray:
        x0, by = held_out.pairs.x0, jax.jit(lambda picture: codec.decode(codec.encode(picture)))
        parts = (jnp.asarray(to_float(x0[i : i + BATCH])) for i in range(0, len(x0), BATCH))
        return to_uint8(np.concatenate([np.asarray(by(part)) for part in parts]))

    return Method(name, "targets, encoded and decoded", draw, chance=False)


def of_pictures(folder: Path, held_out: HeldOut) -> Method:
    """The pictures that some program made of the held-out inputs.

    Each is found by the name of its pair, or by that of the guiding picture's file,
    without suffix. Raises UserError where one is missing or two would do.
    """
    if not folder.is_dir():
        raise UserError(f"--pictures {folder} is no folder; name the one with the pictures to score")
    files: dict[str, Path] = {}
    for path in pictures_in(folder):
        if (other := files.setdefault(as_text(path.stem), path)) != path:
            raise UserError(f"--pictures {folder} holds both {other.name} and {path.name}; remove one")
    names, sources = held_out.pairs.names, held_out.sources
    by_name, by_source = (partners(set(wanted), files.keys()) for wanted in (names, sources))
    chosen = [by_name.get(name, by_source.get(source, "")) for name, source in zip(names, sources, strict=True)]
    found = [files.get(name) for name in chosen]
    missing = [name for name, path in zip(names, found, strict=True) if path is None]
    if missing:
        raise UserError(
            f"--pictures {folder} lacks {len(missing)} of {len(names)} pictures, such as {missing[0]}.png; "
            "draw them too, and name each like its pair"
        )
    data = held_out.data
    drawn = np.stack([fit_square(open_picture(path), data.size, data.fit) for path in found if path is not None])
    return Method("model", f"pictures of {folder.name}", lambda pictures, seeds: drawn, chance=False)


def baselines(held_out: HeldOut) -> list[Method]:
    """Copying the input, and what can be learned from the training pairs where there are any."""
    methods = [Method("copy_input", "copying the input", each(copy_input), chance=False)]
    if held_out.train is not None:
        train = held_out.train
        ridge, find = pixel_ridge(train), retrieval(train)
        learned = (
            ("mean_target", "mean training target", each(mean_target(train))),
            ("color_transfer", "colour transfer (Reinhard)", each(color_transfer(train))),
            ("pixel_ridge", "ridge on colour and place", each(ridge)),
            ("bilateral_grid", "colour changes by place and brightness", each(bilateral_grid(train))),
            *((name, title, with_detail(ridge, find, sigma, grey=grey)) for name, title, sigma, grey in DETAIL),
            ("retrieval", "target of the nearest training input", find),
        )
        methods += [Method(name, title, draw, chance=False) for name, title, draw in learned]
    return methods
