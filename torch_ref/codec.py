"""The codec around the network: pictures to states, and back, (batch, channels, height, width)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.edge import plugins
from export.edge.model.codec import IDENTITY, Codec, of_settings
from export.edge.registry import Registry

Side = Callable[[Tensor], Tensor]
"""A function or a module with weights, which PyTorch's exporter can follow for any batch and size."""


@dataclass(frozen=True)
class Transform:
    """What a codec does to pictures, before and after its statistics."""

    encode: Side
    """Pictures (batch, 3, height, width) in [-1, 1] to (batch, channels, height / factor, width / factor)."""
    decode: Side
    """The way back."""
    module: nn.Module | None = None
    """What holds the weights of both, named as in JAX; None where there are none."""


Create = Callable[[Mapping[str, Any]], Transform]
"""From the settings in a bundle's `config.codec`. For one with a module it is called twice: first on the device `meta`,
for names and shapes alone, and where the weights of the file have these, once more."""


def _identity(settings: Mapping[str, Any]) -> Transform:
    return Transform(lambda picture: picture, lambda state: state)


def _patches(settings: Mapping[str, Any]) -> Transform:
    factor = of_settings(settings).factor
    return Transform(lambda picture: F.pixel_unshuffle(picture, factor), lambda state: F.pixel_shuffle(state, factor))


CODECS: Registry[Create] = Registry("codec")
CODECS.add(IDENTITY, _identity)
CODECS.add("patches", _patches)


def transform_of(config: Mapping[str, Any], record: plugins.Record = ()) -> Transform:
    """The codec of a bundle's config, without its statistics.

    `record`: which entries a user's modules registered, for messages. Raises UserError for one that is not registered.
    """
    settings = config.get("codec", {})
    name = of_settings(settings).name
    create = CODECS.find(name, "config.codec.codec", plugins.module_of(record, CODECS.kind, name))
    return create(settings)


def codec_of(config: Mapping[str, Any], record: plugins.Record = (), found: Transform | None = None) -> Transform:
    """The codec of a bundle's config, its statistics applied. Raises UserError as `transform_of` does.

    `found`: what `transform_of` gives, with the weights of a codec that has some; by default these are torch's own.
    `encode` takes further channels, the coordinates of pixels, as well: they become the means of their blocks.
    """
    found = transform_of(config, record) if found is None else found
    codec = of_settings(config.get("codec", {}))
    if codec == Codec():
        return found
    mean, std = (torch.tensor(row)[:, None, None] for row in (codec.mean, codec.std))

    def encode(picture: Tensor) -> Tensor:
        state = (found.encode(picture[:, :3]) - mean.to(picture)) / std.to(picture)
        return torch.cat([state, F.avg_pool2d(picture[:, 3:], codec.factor)], dim=1) if picture.shape[1] > 3 else state

    return Transform(encode, lambda state: found.decode(state * std.to(state) + mean.to(state)))
