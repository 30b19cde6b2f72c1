"""The codec around the network: pictures to states, and back, (batch, channels, height, width)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from export.edge.model.codec import IDENTITY, Codec, of_settings
from export.edge.registry import Registry


@dataclass(frozen=True)
class Transform:
    """What a codec does to pictures, before and after its statistics."""

    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]


CODECS: Registry[Transform] = Registry("codec")
CODECS.add(IDENTITY, Transform(lambda picture: picture, lambda state: state))


def codec_of(config: Mapping[str, Any]) -> Transform:
    """The codec of a bundle's config, its statistics applied. Raises UserError for one that is not registered."""
    codec = of_settings(config.get("codec", {}))
    found = CODECS.find(codec.name, "config.codec.codec")
    if codec == Codec():
        return found
    mean, std = (torch.tensor(row)[:, None, None] for row in (codec.mean, codec.std))

    def encode(picture: Tensor) -> Tensor:
        return (found.encode(picture) - mean.to(picture)) / std.to(picture)

    return Transform(encode, lambda state: found.decode(state * std.to(state) + mean.to(state)))
