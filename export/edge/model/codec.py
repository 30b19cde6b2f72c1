"""The codec around the network: from a picture to the state that the sampler works on, and back.

A file's metadata give its name, its sizes and its statistics, `codec`, JSON: {"name": "identity", "factor": 1,
"channels": 3, "mean": [0, 0, 0], "std": [1, 1, 1]}. A state is (encoded picture - mean) / std, channel by channel.

With the identity the encoded picture is the picture. Any other codec is two more ONNX files of the artifact, ENCODE and
DECODE of its networks, whatever the codec computes: `codec_encode.onnx` has the input `picture`, float32 (batch, 3,
height, width), and the output `state`, (batch, channels, height / factor, width / factor), before the statistics;
`codec_decode.onnx` has the input `state` and the output `picture`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from export.edge.disk.reading import parse_json
from export.edge.errors import UserError

IDENTITY = "identity"
FORMAT = "dawn2dusk-codec"
ENCODE, DECODE = "codec_encode", "codec_decode"
"""Of the networks of an artifact, those that are the codec."""
PICTURE, STATE = "picture", "state"
CODEC = "codec"
"""Of the networks of a bundle, the one that holds the weights of a codec that was learned."""
SIDES = {ENCODE: (PICTURE, STATE), DECODE: (STATE, PICTURE)}
"""Input and output of each."""
MOST_FACTOR, MOST_CHANNELS = 64, 1024


@dataclass(frozen=True)
class Transform:
    """What a codec does to pictures, before and after its statistics; float arrays (batch, height, width, channels)."""

    encode: Callable[[np.ndarray], np.ndarray]
    decode: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Codec:
    """The codec of a model file."""

    name: str = IDENTITY
    factor: int = 1
    """Pixels of a picture's side for one of the state's."""
    channels: int = 3
    """Of the state."""
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    transform: Transform | None = field(default=None, compare=False)
    """What runs ENCODE and DECODE; None for the identity, and for a file that was opened alone."""

    def state_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of the state of pictures (batch, height, width, ...)."""
        return shape[0], shape[1] // self.factor, shape[2] // self.factor, self.channels

    def encode(self, picture: np.ndarray) -> np.ndarray:
        """Pictures (batch, height, width, 3) in [-1, 1] to states (batch, height / factor, width / factor, channels).

        Channels after the third one, the coordinates of pixels, become the means of their blocks and stay as they are.
        """
        if self == IDENTITY_CODEC:
            return picture
        state = (self._transform.encode(picture[..., :3]) - self._row(self.mean)) / self._row(self.std)
        if picture.shape[-1] == 3:
            return state
        batch, height, width, _ = picture.shape
        rows, columns = height // self.factor, width // self.factor
        blocks = picture[..., 3:].reshape(batch, rows, self.factor, columns, self.factor, -1)
        return np.concatenate([state, blocks.mean(axis=(2, 4), dtype=state.dtype)], axis=-1)

    def decode(self, state: np.ndarray) -> np.ndarray:
        """The inverse of `encode` for pictures of three channels."""
        if self == IDENTITY_CODEC:
            return state
        return self._transform.decode(state * self._row(self.std) + self._row(self.mean))

    def to_json(self) -> str:
        """The entry of the metadata."""
        return json.dumps(self.as_entry())

    def as_entry(self) -> dict[str, Any]:
        """What `to_json` writes, as JSON can hold it."""
        return {name: getattr(self, name) for name in ("name", "factor", "channels", "mean", "std")}

    @property
    def _transform(self) -> Transform:
        if self.name == IDENTITY:
            return _UNCHANGED
        if self.transform is None:
            raise UserError(f"the codec {self.name} is in files of its own; give the folder of the artifact")
        return self.transform

    def _row(self, values: tuple[float, ...]) -> np.ndarray:
        return np.asarray(values, np.float32)


_UNCHANGED = Transform(lambda picture: picture, lambda state: state)
IDENTITY_CODEC = Codec()


def read_codec(text: str, where: str) -> Codec:
    """The codec that an entry of the metadata describes, without the files that run it.

    Raises UserError, which begins with `where`, for an entry that describes none.
    """
    try:
        held: Any = parse_json(text)
        name, factor, channels = held["name"], held["factor"], held["channels"]
        mean, std = (tuple(float(value) for value in held[key]) for key in ("mean", "std"))
        whole = all(type(number) is int for number in (factor, channels)) and isinstance(name, str)
        finite = all(math.isfinite(value) for value in (*mean, *std)) and min(std) > 0
        sizes = 1 <= factor <= MOST_FACTOR and len(mean) == len(std) == channels <= MOST_CHANNELS
        if not (whole and finite and sizes and len(held) == 5):
            raise ValueError("its sizes or statistics make no sense")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{where} is no description of a codec ({error}); export it again") from None
    return Codec(name, factor, channels, mean, std)


def of_settings(settings: Mapping[str, Any]) -> Codec:
    """The codec that a bundle's config names in its section `codec`; older ones have none: the identity."""
    values = {"name": settings.get("codec", IDENTITY), **settings}
    held = {key: values.get(key, default) for key, default in IDENTITY_CODEC.as_entry().items()}
    return read_codec(json.dumps(held), "config.codec")
