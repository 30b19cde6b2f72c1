"""The codec of a bundle with its weights, where it has any: the bundle's network CODEC."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from export.edge.errors import UserError
from export.edge.model.codec import CODEC
from torch_ref.codec import Transform, codec_of, transform_of
from torch_ref.weights import Bundle, entries_of, from_entries


def transform_in(bundle: Bundle) -> Transform:
    """The codec of a bundle, without the statistics of its settings.

    Raises UserError for a codec that is not registered, and for weights that do not fill it exactly.
    """
    return _filled(transform_of(bundle.config, bundle.plugins), bundle)


def codec_in(bundle: Bundle) -> Transform:
    """The same with the statistics of its settings applied. Raises UserError as `transform_in` does."""
    return codec_of(bundle.config, bundle.plugins, transform_in(bundle))


def fill(module: nn.Module, weights: Mapping[str, np.ndarray]) -> None:
    """Give a codec's module the weights of JAX, flat names to arrays in its layouts.

    Raises UserError for a weight that is left over, missing or of a wrong shape.
    """
    module.load_state_dict(from_entries(weights, entries_of(module)))


def _filled(found: Transform, bundle: Bundle) -> Transform:
    if found.module is None:
        return found
    if CODEC not in bundle.networks:
        raise UserError(f"the bundle has no network {CODEC}, the weights of its codec; bundle the run again")
    with torch.no_grad():
        fill(found.module, bundle.networks[CODEC])
    return found
