"""Which parts of a picture the model has invented: what the photo did not decide.

A model with a slider says it by itself: the sharp picture differs from the mean of all plausible pictures where it had
to choose one of them. Of any other model that starts from noise, it is the spread over several seeds.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from export.edge.errors import UserError
from export.edge.model.artifact import Artifact
from export.edge.pictures.arrays import check_photo, check_size, resize, sides_of, without_bars, working
from export.edge.sampling.guidance import check_guidance, guided
from export.edge.sampling.loop import Denoise
from export.edge.sampling.table import Plan
from export.edge.translate import Options, drawn

AS_RECOMMENDED = Options()
SEEDS = 4
"""Pictures of other seeds that are compared, for a model without a slider."""
WHITE = 0.125
"""The difference, as a share of the range from black to white, that is white on the map; more is white too."""


def invented(
    model: Artifact,
    picture: np.ndarray | Image.Image,
    options: Options = AS_RECOMMENDED,
    *,
    seed: int = 0,
    on_run: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """How much of each pixel of a translation is invented: uint8 (height, width) of the photo's size, 0 for nothing.

    `picture`: uint8 (height, width, 3), or an image of mode RGB. The model runs twice, or SEEDS times, at its working
    size; a tile and detail of the options make no difference. `on_run(done, total)` is called before the first run of
    the model and after each, counted over all pictures. Raises UserError as `translate` does, for a realism of 0, and
    for a model of which no two pictures of one photo differ.
    """
    check_photo(picture)
    chosen = ways(model, options, seed)
    side = model.size if options.size is None else check_size(options.size, model.size_multiple)
    inner = working(picture, side, model.fit, model.size_multiple)
    denoise = guided(model.denoise, model.guidance if options.guidance is None else options.guidance)
    if on_run is not None:
        denoise = _counted(denoise, sum(len(plan) for plan, _ in chosen), on_run)
    made = [drawn(model, denoise, inner, plan, start) for plan, start in chosen]
    if model.slider:
        apart = np.abs(made[1] - made[0]).mean(axis=2)
    else:
        apart = np.std(made, axis=0).mean(axis=2)
    height, width = sides_of(picture)
    apart = without_bars(apart[..., None], height, width, model.fit)[..., 0]
    levels = np.clip(apart / (2.0 * WHITE), 0.0, 1.0) * 255.0 + 0.5
    return resize(np.repeat(levels.astype(np.uint8)[..., None], 3, axis=2), height, width)[..., 0]


def _counted(denoise: Denoise, total: int, on_run: Callable[[int, int], None]) -> Denoise:
    """`denoise`, with `on_run` told of its calls."""
    done = 0
    on_run(done, total)

    def call(x_t: np.ndarray, cond: np.ndarray, t: np.ndarray) -> np.ndarray:
        nonlocal done
        made = denoise(x_t, cond, t)
        done += 1
        on_run(done, total)
        return made

    return call


def ways(model: Artifact, options: Options, seed: int) -> list[tuple[Plan, int]]:
    """The plans and seeds of the pictures that are compared. Raises UserError where no map can be made."""
    if model.slider and options.realism == 0.0:
        raise UserError("realism 0 is the mean picture, in which nothing is invented; choose more, or no map")
    check_guidance(1.0 if options.guidance is None else options.guidance, model.cond_dropout)
    realisms = (0.0, options.realism) if model.slider else (options.realism,)
    plans = [
        model.plan(options.steps, options.sampler, options.eta, spacing=options.spacing, realism=realism)
        for realism in realisms
    ]
    if model.slider:
        return [(plan, seed) for plan in plans]
    (plan,) = plans
    if plan.start_from_noise == 0.0 and not plan.noise.any():
        raise UserError("the model gives one picture for each photo, so that no map can be made; leave it out")
    return [(plan, (seed + number) % 2**64) for number in range(SEEDS)]
