"""Muon for kernels, AdamW for all else, as one optimiser of torch.

Written from Jordan et al. 2024 ("Muon") as torch.optim.Muon is, which knows matrices alone and computes in bfloat16.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
TINY = 1e-7
ADAM_SIZE = 0.2
"""Root mean square of a step, in units of the learning rate (Liu et al. 2025, section 2.2)."""


class Muon(torch.optim.Optimizer):
    """Each kernel as a matrix (outputs, all else); biases and scales by AdamW with torch's defaults.

    The state of a parameter holds `momentum_buffer`, or AdamW's `step`, `exp_avg` and `exp_avg_sq`.
    """

    def __init__(self, model: nn.Module, lr: float, weight_decay: float) -> None:
        # The kernels of transposed convolutions begin with their inputs.
        turned = {id(part.weight) for part in model.modules() if isinstance(part, nn.ConvTranspose2d)}
        groups: list[dict[str, Any]] = [{"params": [], "axis": axis} for axis in (0, 1, None)]
        for parameter in model.parameters():
            group = 2 if parameter.ndim < 2 else int(id(parameter) in turned)
            groups[group]["params"].append(parameter)
        super().__init__([group for group in groups if group["params"]], {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step along the gradients; a parameter without one stays."""
        del closure
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                parameter.mul_(1.0 - group["lr"] * group["weight_decay"])
                if group["axis"] is None:
                    direction = adam_direction(parameter.grad, state)
                else:
                    direction = muon_direction(parameter.grad, state, group["axis"])
                parameter.sub_(group["lr"] * direction)


def muon_direction(gradient: Tensor, state: dict[str, Any], axis: int) -> Tensor:
    """The step of a kernel whose outputs are dimension `axis`; moves the momentum in `state`."""
    mean = state.setdefault("momentum_buffer", torch.zeros_like(gradient))
    mean.lerp_(gradient, 1.0 - MOMENTUM)
    ahead = gradient.lerp(mean, MOMENTUM).movedim(axis, 0)
    matrix = ahead.flatten(1)
    step = ADAM_SIZE * math.sqrt(max(matrix.shape)) * orthogonal(matrix)
    return step.reshape(ahead.shape).movedim(0, axis)


def orthogonal(matrix: Tensor) -> Tensor:
    """The iteration of Newton and Schulz with Jordan's coefficients: singular values end near 1."""
    a, b, c = COEFFICIENTS
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (x.norm() + TINY)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


def adam_direction(gradient: Tensor, state: dict[str, Any]) -> Tensor:
    """Adam's direction (Kingma & Ba 2015, algorithm 1) with torch's defaults; moves the moments in `state`."""
    beta1, beta2, eps = 0.9, 0.999, 1e-8
    if not state:
        state.update(step=0, exp_avg=torch.zeros_like(gradient), exp_avg_sq=torch.zeros_like(gradient))
    state["step"] += 1
    first = state["exp_avg"].lerp_(gradient, 1.0 - beta1)
    second = state["exp_avg_sq"].mul_(beta2).addcmul_(gradient, gradient, value=1.0 - beta2)
    first, second = first / (1.0 - beta1 ** state["step"]), second / (1.0 - beta2 ** state["step"])
    return first / (second.sqrt() + eps)
