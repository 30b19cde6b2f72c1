"""What can be chosen by name: samplers, spacings, what a network predicts, and how a result reaches a large photo.

A command line can name them in its help without loading numpy.
"""

from __future__ import annotations

from typing import Literal, get_args

Sampler = Literal["ddim", "ddpm", "dpmpp", "heun"]
AnySampler = Literal[Sampler, "original"]
"""`original`, the original script's loop in jax_impl and torch_ref, is for comparison and is never recommended."""
Spacing = Literal["trailing", "leading", "linspace", "logsnr"]
Prediction = Literal["eps", "x0", "v"]
Detail = Literal["transfer", "enlarge"]
SAMPLERS: tuple[str, ...] = get_args(Sampler)
SPACINGS: tuple[str, ...] = get_args(Spacing)
PREDICTIONS: tuple[str, ...] = get_args(Prediction)
DETAILS: tuple[str, ...] = get_args(Detail)
