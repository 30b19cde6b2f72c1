"""The codec of a bundle with its weights, where it has any: the bundle's network CODEC."""

from __future__ import annotations

import reprlib
import warnings
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from export.edge.errors import UserError
from export.edge.model.codec import CODEC
from torch_ref.codec import Transform, codec_of, transform_of
from torch_ref.weights import Bundle, entries_of, from_entries

_IMPOSSIBLE = (TypeError, ValueError, ArithmeticError, RuntimeError)
"""What comes of settings that make no codec."""


def transform_in(bundle: Bundle) -> Transform:
    """The codec of a bundle, without the statistics of its settings.

    Raises UserError for a codec that is not registered, and for weights that do not fill it exactly: their names and
    shapes are compared before anything of the size that the settings ask for is allocated.
    """
    try:
        outline = _outline(bundle)
        state = None if outline is None else _state(outline, bundle)
        found = transform_of(bundle.config, bundle.plugins)
    except _IMPOSSIBLE as error:
        settings = reprlib.repr(bundle.config.get("codec"))
        raise UserError(f"config.codec {settings} makes no codec ({error}); bundle the run again") from error
    if found.module is not None and state is not None:
        found.module.load_state_dict(state)
    return found


def codec_in(bundle: Bundle) -> Transform:
    """The same with the statistics of its settings applied. Raises UserError as `transform_in` does."""
    return codec_of(bundle.config, bundle.plugins, transform_in(bundle))


def fill(module: nn.Module, weights: Mapping[str, np.ndarray]) -> None:
    """Give a codec's module the weights of JAX, flat names to arrays in its layouts.

    Raises UserError for a weight that is left over, missing or of a wrong shape.
    """
    module.load_state_dict(from_entries(weights, entries_of(module), "codec"))


def _outline(bundle: Bundle) -> nn.Module | None:
    """What is to hold the weights of the codec, on the device meta; None for a codec without any in the bundle."""
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return transform_of(bundle.config, bundle.plugins).module
    except _IMPOSSIBLE:
        if CODEC in bundle.networks:
            raise
        return None  # A codec may read a file of its own, whose values it cannot compute with on meta.


def _state(module: nn.Module, bundle: Bundle) -> dict[str, Tensor]:
    """The weights in the file, for a module of which nothing but names and shapes is known."""
    if CODEC not in bundle.networks:
        raise UserError(f"the bundle has no network {CODEC}, the weights of its codec; bundle the run again")
    return from_entries(bundle.networks[CODEC], entries_of(module), "codec")
