"""Sessions of model files as the functions that samplers call, on arrays (batch, height, width, channels)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from export.edge.errors import UserError
from export.edge.model.codec import DECODE, ENCODE, SIDES, Codec
from export.edge.sampling.loop import Denoise


def denoiser(session: Any, path: Path) -> Denoise:
    """The session of a network's file as a function. It raises UserError where a call fails."""

    def denoise(x_t: np.ndarray, cond: np.ndarray, t: np.ndarray) -> np.ndarray:
        feeds = {"x_t": _nchw(x_t), "cond": _nchw(cond), "t": np.ascontiguousarray(t, np.int64)}
        return _run(session, path, feeds, "prediction", feeds["x_t"].shape)

    return denoise


def codec_side(session: Any, path: Path, codec: Codec, name: str) -> Callable[[np.ndarray], np.ndarray]:
    """The session of a codec's file as a function, `name` ENCODE or DECODE. It raises UserError where a call fails."""
    given, made = SIDES[name]

    def encode(picture: np.ndarray) -> np.ndarray:
        batch, height, width, channels = codec.state_shape(picture.shape)
        return _run(session, path, {given: _nchw(picture)}, made, (batch, channels, height, width))

    def decode(state: np.ndarray) -> np.ndarray:
        batch, height, width, _ = state.shape
        return _run(session, path, {given: _nchw(state)}, made, (batch, 3, height * codec.factor, width * codec.factor))

    return {ENCODE: encode, DECODE: decode}[name]


def _nchw(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2), np.float32)


def _run(session: Any, path: Path, feeds: Mapping[str, np.ndarray], output: str, shape: tuple[int, ...]) -> np.ndarray:
    """The output of that name, of this shape as the graph makes it, (batch, height, width, channels)."""
    first = next(iter(feeds.values()))
    try:
        (out,) = session.run([output], dict(feeds))
    except Exception as error:  # As when it is opened: no base class to name.
        raise UserError(
            f"model {path} failed on pictures of {first.shape[3]} x {first.shape[2]} ({error}); free some memory or "
            "export the model again"
        ) from error
    if out.shape != shape:
        raise UserError(f"model {path} made {out.shape} of {first.shape}; export the model again")
    return np.ascontiguousarray(out.transpose(0, 2, 3, 1))
