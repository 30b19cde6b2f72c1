"""From a photo to its translation, with an opened model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from export.edge import noise
from export.edge.artifact import Artifact
from export.edge.detail import check_detail, to_photo_size
from export.edge.errors import UserError
from export.edge.guidance import check_guidance, guided
from export.edge.pictures import to_float, working
from export.edge.sampler import Plan, Step, coefficients, iterate
from export.edge.tiles import check_area, check_tile, tiled, windows


def translate(
    model: Artifact,
    picture: np.ndarray,
    steps: int | None = None,
    seed: int = 0,
    sampler: str | None = None,
    eta: float = 0.0,
    on_step: Callable[[Step, int], None] | None = None,
    *,
    spacing: str | None = None,
    guidance: float | None = None,
    detail: str = "transfer",
    tile: int | None = None,
    on_window: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Translate a photo: uint8 (height, width, 3) to uint8 of the same size.

    The photo is brought to the model's working size, the noise comes from `seed` alone
    (an integer in 0 ... 2^64 - 1), and the result is carried to the photo's own pixels:
    by the `detail` "transfer" as a change of colour, by "enlarge" resized (see
    `export.edge.detail`). `steps`, `sampler`, `spacing` and `guidance` default to what the
    model recommends; "heun" runs the model twice in a step, and so does any guidance but 1.
    `on_step(step, total)` is called after each of `total` runs of the model, with arrays
    (1, h, w, 3) of the working size.

    With `tile`, pixels of the working picture's short side, that picture keeps the photo's
    shape, whatever the model's fit, and the model sees it in overlapping windows of its own
    size (see `export.edge.tiles`); `on_window(done, total)` is called before the first
    and after each.

    Raises UserError for steps outside 1 ... T, an unknown sampler, spacing or detail, a seed,
    an eta, a guidance or a tile out of range, and a model that returns values that are not
    finite.
    """
    plan = make_plan(model, steps, sampler, eta, spacing=spacing)
    scale = model.guidance if guidance is None else guidance
    check_guidance(scale, model.cond_dropout)
    check_detail(detail)
    denoise = guided(model.denoise, scale)
    if tile is not None:
        check_tile(model, tile)
    size, fit = (model.size, model.fit) if tile is None else (tile, "crop")
    inner, _ = working(picture, size, fit, model.size_multiple)
    cond = to_float(inner)[None]
    shape = cond.shape
    if tile is not None:
        check_area(shape[1], shape[2])
        places = windows(shape[1], shape[2], model.size, model.size_multiple)
        total = len(places) * len(plan)
        denoise = tiled(denoise, places, None if on_window is None else lambda done: on_window(done, total))
    x = noise.normal(seed, noise.START, shape)

    def step_noise(index: int) -> np.ndarray:
        return noise.normal(seed, index + 1, shape)

    for step in iterate(denoise, cond, x, plan, model.clamp, step_noise, model.threshold):
        x = step.x
        if on_step is not None:
            on_step(step, len(plan))
    if not np.isfinite(x).all():
        raise UserError("the model returned values that are not finite; export it again from a healthy training run")
    return to_photo_size(picture, inner, x[0], fit, detail)


def make_plan(
    model: Artifact,
    steps: int | None = None,
    sampler: str | None = None,
    eta: float = 0.0,
    *,
    spacing: str | None = None,
) -> Plan:
    """The Plan that `translate` follows for these wishes. Raises UserError where they cannot be met."""
    return coefficients(
        model.alphas_cumprod,
        model.steps if steps is None else steps,
        model.sampler if sampler is None else sampler,
        eta,
        prediction=model.prediction,
        spacing=model.spacing if spacing is None else spacing,
    )
