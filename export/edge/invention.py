"""Which parts of a picture the model has invented: what the photo did not decide.

A model with a slider says it by itself: the sharp picture differs from the mean of all plausible pictures where it had
to choose one of them. Of any other model that starts from noise, it is the spread over several seeds.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from export.edge.errors import UserError
from export.edge.model.artifact import Artifact
from export.edge.pictures.arrays import check_size, resize, without_bars, working
from export.edge.sampling.guidance import guided
from export.edge.translate import Options, drawn

AS_RECOMMENDED = Options()
SEEDS = 4
"""Pictures of other seeds that are compared, for a model without a slider."""
WHITE = 0.125
"""The difference, as a share of the range from black to white, that is white on the map; more is white too."""


def invented(model: Artifact, picture: np.ndarray, options: Options = AS_RECOMMENDED, *, seed: int = 0) -> np.ndarray:
    """How much of each pixel of a translation is invented: uint8 (height, width) of the photo's size, 0 for nothing.

    `picture`: uint8 (height, width, 3). The model runs twice, or SEEDS times, at its working size; a tile and detail of
    the options make no difference. Raises UserError as `translate` does, for a realism of 0, and for a model of which
    no two pictures of one photo differ.
    """
    if model.slider:
        if options.realism == 0.0:
            raise UserError("realism 0 is the mean picture, in which nothing is invented; choose more, or no map")
        ways = [(replace(options, realism=realism), seed) for realism in (0.0, options.realism)]
    else:
        ways = [(options, seed + number) for number in range(SEEDS)]
    side = model.size if options.size is None else check_size(options.size, model.size_multiple)
    inner = working(picture, side, model.fit, model.size_multiple)
    denoise = guided(model.denoise, model.guidance if options.guidance is None else options.guidance)
    made = []
    for how, start in ways:
        plan = model.plan(how.steps, how.sampler, how.eta, spacing=how.spacing, realism=how.realism)
        if not model.slider and plan.start_from_noise == 0.0 and not plan.noise.any():
            raise UserError("the model gives one picture for each photo, so that no map can be made; leave it out")
        made.append(drawn(model, denoise, inner, plan, start))
    if model.slider:
        apart = np.abs(made[1] - made[0]).mean(axis=2)
    else:
        apart = np.std(made, axis=0).mean(axis=2)
    apart = without_bars(apart[..., None], picture.shape[0], picture.shape[1], model.fit)[..., 0]
    levels = np.clip(apart / (2.0 * WHITE), 0.0, 1.0) * 255.0 + 0.5
    return resize(np.repeat(levels.astype(np.uint8)[..., None], 3, axis=2), picture.shape[0], picture.shape[1])[..., 0]
