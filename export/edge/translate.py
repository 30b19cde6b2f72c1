"""From a photo to its translation, with an opened model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from export.edge import noise
from export.edge.artifact import Artifact
from export.edge.errors import UserError
from export.edge.guidance import check_guidance, guided
from export.edge.pictures import check_size, to_float, to_uint8, working
from export.edge.sampler import Step, coefficients, iterate


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
    size: int | None = None,
) -> np.ndarray:
    """Translate a photo: uint8 (height, width, 3) to uint8 of the same size.

    The photo is brought to the model's working size, the noise comes from `seed` alone
    (an integer in 0 ... 2^64 - 1), and the result is brought back. `steps`, `sampler`,
    `spacing` and `guidance` default to what the model recommends; "heun" runs the model
    twice in a step, and so does any guidance but 1.
    `on_step(step, total)` is called after each of `total` runs of the model, with arrays
    (1, h, w, 3) of the working size. `size` is what `export.edge.pictures.working` brings the
    photo to, by default the size of training: a multiple of size_multiple up to 4096.

    Raises UserError for steps outside 1 ... T, an unknown sampler or spacing, a seed, an
    eta, a guidance or a size out of range, and a model that returns values that are not finite.
    """
    plan = coefficients(
        model.alphas_cumprod,
        model.steps if steps is None else steps,
        model.sampler if sampler is None else sampler,
        eta,
        prediction=model.prediction,
        spacing=model.spacing if spacing is None else spacing,
    )
    scale = model.guidance if guidance is None else guidance
    check_guidance(scale, model.cond_dropout)
    denoise = guided(model.denoise, scale)
    side = model.size if size is None else check_size(size, model.size_multiple)
    inner, restore = working(picture, side, model.fit, model.size_multiple)
    cond = to_float(inner)[None]
    x = noise.normal(seed, noise.START, cond.shape)

    def step_noise(index: int) -> np.ndarray:
        return noise.normal(seed, index + 1, cond.shape)

    for step in iterate(denoise, cond, x, plan, model.clamp, step_noise, model.threshold):
        x = step.x
        if on_step is not None:
            on_step(step, len(plan))
    if not np.isfinite(x).all():
        raise UserError("the model returned values that are not finite; export it again from a healthy training run")
    return restore(to_uint8(x[0]))
