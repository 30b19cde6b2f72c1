"""Which layers lose most in 8 bits, found by trying each alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from export.precision import Feeds
from torch_ref.base import Denoiser

KINDS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
WEIGHT_STEPS = 63
"""Steps on either side of zero: 7 of 8 bits, as `export.precision.int8` uses."""
ACTIVATION_STEPS = 255


@dataclass(frozen=True)
class Layer:
    """One layer of the network."""

    name: str
    error: float
    """Its share of the sum of all layers' mean square errors of the output, each alone in 8 bits."""
    weights: float
    """Its share of the network's parameters."""


def by_error(model: Denoiser, feeds: Sequence[Feeds]) -> list[Layer]:
    """All layers, the worst first. `feeds`: as `export.precision.int8` takes them, all of one size."""
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, KINDS)]
    x_t, cond, t = (torch.from_numpy(np.concatenate([feed[name] for feed in feeds])) for name in ("x_t", "cond", "t"))
    total = sum(parameter.numel() for parameter in model.parameters())
    with torch.inference_mode():
        wanted = model(x_t, cond, t)
        errors = {}
        for name, module in layers:
            errors[name] = _error_of(module, lambda: model(x_t, cond, t) - wanted)
    every = sum(errors.values()) or 1.0
    found = [Layer(name, errors[name] / every, module.weight.numel() / total) for name, module in layers]
    return sorted(found, key=lambda layer: -layer.error)


def kept(layers: Iterable[Layer], least_error: float, most_weights: float) -> list[str]:
    """The names of the layers to leave in float32, for `layers` from the worst on.

    All whose share of the error is at least `least_error`, except those that would bring the share of the
    weights that are kept over `most_weights`.
    """
    names: list[str] = []
    weights = 0.0
    for layer in layers:
        if layer.error >= least_error and weights + layer.weights <= most_weights:
            names.append(layer.name)
            weights += layer.weights
    return names


def _error_of(module: nn.Conv2d | nn.ConvTranspose2d | nn.Linear, difference: Callable[[], Tensor]) -> float:
    """The mean square of what `difference()` returns while this module alone calculates in 8 bits."""
    weight = module.weight
    exact = weight.data
    outputs = 1 if isinstance(module, nn.ConvTranspose2d) else 0
    axes = [axis for axis in range(exact.ndim) if axis != outputs]
    scale = exact.abs().amax(dim=axes, keepdim=True) / WEIGHT_STEPS
    scale[scale == 0] = 1.0
    hook = module.register_forward_pre_hook(lambda _, given: (_rounded(given[0]),))
    weight.data = torch.round(exact / scale) * scale
    try:
        return float(difference().square().mean())
    finally:
        weight.data = exact
        hook.remove()


def _rounded(x: Tensor) -> Tensor:
    """To ACTIVATION_STEPS even steps over the range of its values and zero, which is hit exactly."""
    low, high = x.min().clamp(max=0.0), x.max().clamp(min=0.0)
    step = (high - low) / ACTIVATION_STEPS
    if step == 0:
        return x
    zero = torch.round(-low / step)
    return (torch.clamp(torch.round(x / step) + zero, 0, ACTIVATION_STEPS) - zero) * step
