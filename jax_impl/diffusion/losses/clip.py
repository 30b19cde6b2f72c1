"""CLIP: the distance of two pictures in what a network sees in them that was trained on pictures and their captions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp

from jax_impl.config.checks import require_share
from jax_impl.diffusion.losses.frozen import FrozenTermConfig, seen
from jax_impl.diffusion.losses.registry import FROZEN, LOSSES, LossSample, Parts, Term
from jax_impl.perceptual.clip import SOURCE, clip, open_clip
from jax_impl.perceptual.layers import compute_dtype
from jax_impl.shapes import Array, Float

FLOOR = 0.01
"""Length, of embeddings of length 1, below which a direction counts less and less: it has no gradient at 0."""


@dataclass(frozen=True)
class ClipConfig(FrozenTermConfig):
    """Cosine distance between the embeddings of x0_hat and x0 in the image encoder of CLIP ViT-B/32."""

    term: Literal["clip"] = "clip"
    directional: float = 0.0
    """Share, 0 to 1, of the distance between two directions, from the input to x0_hat and from the input to x0; the
    rest is that between x0_hat and x0 themselves."""

    source: ClassVar[str] = SOURCE
    opener: ClassVar = staticmethod(open_clip)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_share("losses.clip.directional", self.directional)

    def create(self) -> Term:
        """A term with a value for each picture, and both distances as parts, where they are computed.

        The directional form is that of StyleGAN-NADA (Gal et al. 2021), with the input picture for their frozen
        generator's, and x0 less the input for the difference of their texts.
        """

        def term(sample: LossSample, key: jax.Array, aux: Mapping[str, Any]) -> tuple[jax.Array, Parts]:
            shown, weights, dtype = seen(self, sample, aux), aux[FROZEN], compute_dtype()
            found = clip(weights, shown.x0_hat, dtype)
            if self.directional == 0.0:
                return shown.weight * apart(found, clip(weights, shown.x0, dtype)), {}
            both = clip(weights, jnp.concatenate([shown.x0, shown.cond]), dtype)
            wanted, start = jnp.split(both, 2)
            parts = {"clip_cosine": apart(found, wanted), "clip_direction": apart(found - start, wanted - start, FLOOR)}
            cosine, direction = parts.values()
            return shown.weight * ((1.0 - self.directional) * cosine + self.directional * direction), parts

        return term


def apart(
    a: Float[Array, "batch embedding"], b: Float[Array, "batch embedding"], floor: float = 0.0
) -> Float[Array, " batch"]:
    """1 - the cosine of the angle between two vectors, 0 to 2; each length l counts as sqrt(l² + floor²)."""
    lengths = [jnp.sqrt(jnp.sum(jnp.square(vector), axis=-1) + floor**2) for vector in (a, b)]
    return 1.0 - jnp.sum(a * b, axis=-1) / (lengths[0] * lengths[1])


LOSSES.add("clip", ClipConfig)
