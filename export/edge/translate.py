"""From a photo to its translation, with an opened model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from export.edge.detail import check_detail, to_photo_size
from export.edge.model.artifact import Artifact
from export.edge.model.codec import Codec
from export.edge.pictures.arrays import Photo, check_photo, check_size, sides_of, to_float, without_bars, working
from export.edge.sampling.coordinates import with_coordinates
from export.edge.sampling.guidance import check_guidance, guided
from export.edge.sampling.loop import Call, Denoise, final, finite, generate
from export.edge.sampling.table import Plan
from export.edge.tiles import anchored, check_tile, tiled, windows

OnStep = Callable[[Call, int], None]


@dataclass(frozen=True)
class Options:
    """How to translate. None is what the model recommends."""

    steps: int | None = None
    """Sampler steps, 1 ... T; "heun" runs the model twice in a step."""
    sampler: str | None = None
    spacing: str | None = None
    eta: float = 0.0
    """Noise of "ddim", 0 to 1."""
    guidance: float | None = None
    """Guidance scale, 1 for none; any other runs the model twice as often."""
    realism: float | None = None
    """From 0, the mean of all plausible pictures, to 1, the sharpest, for a model with a slider; None is 1."""
    size: int | None = None
    """What `export.edge.pictures.arrays.working` brings the photo to, pixels: a multiple of size_multiple up to 4096;
    None is the size of training."""
    detail: str = "transfer"
    """How the result reaches the photo's own pixels: "transfer", as a change of colour, or "enlarge", resized."""
    tile: int | None = None
    """Short side of the working picture, pixels: that picture then keeps the photo's shape, whatever the model's fit,
    and the model sees it in overlapping windows of its own size (see `export.edge.tiles`)."""
    in_place: bool = False
    """Whether a photo that is an image of Pillow may be changed itself: a large one is then not held twice."""


def translate(
    model: Artifact,
    picture: Photo,
    options: Options = Options(),
    *,
    seed: int = 0,
    on_step: OnStep | None = None,
    on_window: Callable[[int, int], None] | None = None,
    inner: np.ndarray | None = None,
) -> Photo:
    """Translate a photo: uint8 (height, width, 3), or an image of mode RGB, to the same of the same size.

    The photo is brought to the model's working size, the noise comes from `seed` alone (an integer in 0 ... 2^64 - 1),
    and the result is carried to the photo's own pixels. `on_step(call, total)` is called after each of `total` runs of
    the model, with arrays (1, h, w, 3) of the working size; with a tile `on_window(done, total)` before the first
    window and after each. `inner`: what `working` makes of the photo for these options, where that is known already.

    Raises UserError for a photo of another kind, options that are unknown or out of range for this model, a seed out of
    range, and a model that returns values that are not finite.
    """
    check_photo(picture)
    plan = model.plan(options.steps, options.sampler, options.eta, spacing=options.spacing, realism=options.realism)
    scale = model.guidance if options.guidance is None else options.guidance
    check_guidance(scale, model.cond_dropout)
    check_detail(options.detail)
    denoise = guided(model.denoise, scale)
    side = model.size if options.size is None else check_size(options.size, model.size_multiple)
    inner = working(picture, side, model.fit, model.size_multiple) if inner is None else inner
    if options.tile is None:
        made = drawn(model, denoise, inner, plan, seed, on_step)
        return to_photo_size(
            picture, inner, made, model.fit, options.detail, in_place=options.in_place, threads=model.threads
        )
    check_tile(model, options.tile)
    large = working(picture, options.tile, "crop", model.size_multiple)
    sides = (large.shape[0], large.shape[1], model.size, model.size_multiple)
    places = windows(*(pixels // model.codec.factor for pixels in sides))
    total = len(places) * len(plan)
    whole = drawn(model, denoise, inner, plan, seed)
    whole = without_bars(whole, *sides_of(picture), model.fit)
    by_window = tiled(denoise, places, None if on_window is None else lambda done: on_window(done, total))
    by_window = anchored(by_window, whole, plan, model.codec)
    made = drawn(model, by_window, large, plan, seed, on_step)
    return to_photo_size(picture, large, made, "crop", options.detail, in_place=options.in_place, threads=model.threads)


def drawn(
    model: Artifact, denoise: Denoise, inner: np.ndarray, plan: Plan, seed: int, on_step: OnStep | None = None
) -> np.ndarray:
    """What a model makes of a picture of working size, uint8 (h, w, 3), by a plan: float32 (h, w, 3) in [-1, 1].

    `denoise` is called in the place of the model's own. Raises UserError for values that are not finite.
    """
    cond = to_float(inner)[None]
    # Before windows are cut from it, so that each knows its place in the whole.
    cond = with_coordinates(cond) if model.coordinates else cond
    calls = generate(model, cond, plan, seed, denoise)
    return finite(model.codec.decode(final(reported(calls, model.codec, on_step, len(plan)))))[0]


def reported(calls: Iterable[Call], codec: Codec, on_step: OnStep | None, total: int) -> Iterator[Call]:
    """The calls as they come; `on_step(call, total)` is called with each, its x, in the first x_t too, as a picture."""
    for call in calls:
        if on_step is not None:
            begun = codec.decode(call.x_t) if call.index == 0 else call.x_t
            on_step(replace(call, x_t=begun, x=codec.decode(call.x)), total)
        yield call
