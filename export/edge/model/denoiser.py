"""A model's session as the function that samplers call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from export.edge.errors import UserError
from export.edge.sampling.loop import Denoise


def denoiser(session: Any, path: Path) -> Denoise:
    """The session of a model file as a function of NHWC arrays. It raises UserError where a call fails."""

    def denoise(x_t: np.ndarray, cond: np.ndarray, t: np.ndarray) -> np.ndarray:
        feeds = {
            "x_t": np.ascontiguousarray(x_t.transpose(0, 3, 1, 2), np.float32),
            "cond": np.ascontiguousarray(cond.transpose(0, 3, 1, 2), np.float32),
            "t": np.ascontiguousarray(t, np.int64),
        }
        try:
            (out,) = session.run(["prediction"], feeds)
        except Exception as error:  # As when it is opened: no base class to name.
            raise UserError(
                f"model {path} failed on pictures of {x_t.shape[2]} x {x_t.shape[1]} ({error}); free some memory or "
                "export the model again"
            ) from error
        if out.shape != feeds["x_t"].shape:
            raise UserError(f"model {path} made {out.shape} of {feeds['x_t'].shape}; export the model again")
        return np.ascontiguousarray(out.transpose(0, 2, 3, 1))

    return denoise
