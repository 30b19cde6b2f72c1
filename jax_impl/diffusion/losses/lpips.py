"""LPIPS: the distance of two pictures in the features of a network that was trained to name things in photos."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax

from jax_impl.config.checks import require
from jax_impl.diffusion.losses.frozen import FrozenTermConfig, seen
from jax_impl.diffusion.losses.registry import FROZEN, LOSSES, LossSample, Parts, Term
from jax_impl.perceptual.layers import compute_dtype, resized
from jax_impl.perceptual.lpips import SOURCE, lpips, open_lpips


@dataclass(frozen=True)
class LpipsConfig(FrozenTermConfig):
    """LPIPS of x0_hat and x0 over VGG16 or AlexNet, whichever the file holds (Zhang et al. 2018, version 0.1)."""

    term: Literal["lpips"] = "lpips"
    size: int | None = None
    """Side that pictures are brought to first, bilinearly, 31 to 1024 pixels; none to compare them as they are, for
    which VGG16 needs 16 pixels a side and AlexNet 31."""

    source: ClassVar[str] = SOURCE
    opener: ClassVar = staticmethod(open_lpips)

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = self.size is None or 31 <= self.size <= 1024
        require(fits, "losses.lpips.size", self.size, "choose 31 to 1024, or none")

    def check(self, config: Any) -> None:
        """Pictures are large enough for either network, or brought to a size."""
        super().check(config)
        side = config.data.crop_size or config.data.size
        rule = f"pictures of {side} pixels are too small for LPIPS; choose a size from 31 on, such as 64"
        require(self.size is not None or side >= 31, "losses.lpips.size", self.size, rule)

    def create(self) -> Term:
        """A term with a value for each picture."""

        def term(sample: LossSample, key: jax.Array, aux: Mapping[str, Any]) -> tuple[jax.Array, Parts]:
            shown = seen(self, sample, aux)
            x0_hat, x0 = shown.x0_hat, shown.x0
            if self.size is not None:
                x0_hat, x0 = (resized(pictures, self.size, "bilinear") for pictures in (x0_hat, x0))
            return shown.weight * lpips(aux[FROZEN], x0_hat, x0, compute_dtype()), {}

        return term


LOSSES.add("lpips", LpipsConfig)
