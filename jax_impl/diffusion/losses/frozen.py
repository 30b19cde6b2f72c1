"""What the terms share that look through a network that others have trained: its file, and when they count.

Such a network knows photos. Far from the target x0_hat is none: it is a blurred mean, or noise that a large factor has
blown up. So the terms are weighed by the noise level, or end at a timestep.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import jax.numpy as jnp

from jax_impl.config.checks import require
from jax_impl.config.fields import FREE_ON_RESUME
from jax_impl.diffusion.losses.registry import DECODE, LossConfig, LossSample
from jax_impl.perceptual.weights import Weights, read_once
from jax_impl.shapes import Array, Float, Pictures


@dataclass(frozen=True)
class FrozenTermConfig(LossConfig):
    """Settings of a term with a frozen network; a subclass says how its file is opened."""

    term: str
    file: str = field(default="", metadata=FREE_ON_RESUME)
    """Safetensors file of the network's weights, made by `python -m torch_ref.perceptual`."""
    weighting: Literal["snr", "uniform"] = "snr"
    """Weight of a picture by its noise level: `snr` is SNR / (1 + SNR), near 1 at little noise and near 0 at much;
    `uniform` is 1 everywhere, which one pass needs."""
    largest_t: int | None = None
    """Largest timestep at which the term counts, 0 or more; none for all."""

    source: ClassVar[str] = ""
    """Where the weights come from, for messages."""
    opener: ClassVar[Callable[[Path, str], Weights]]
    """(file, what messages call it) to the weights."""

    def __post_init__(self) -> None:
        super().__post_init__()
        largest = self.largest_t
        require(largest is None or largest >= 0, f"losses.{self.term}.largest_t", largest, "choose 0 or more, or none")

    def check(self, config: Any) -> None:
        """A file is named; and one pass, which knows one noise level alone, is not weighed by it."""
        process, term, rule = config.diffusion.process, self.term, "one pass has no noise level to go by; choose"
        require(bool(self.file), f"losses.{term}.file", self.file, f"name the network's weights; {self.source}")
        fits = process != "one-pass" or self.weighting == "uniform"
        require(fits, f"losses.{term}.weighting", self.weighting, f"{rule} uniform")
        fits = process != "one-pass" or self.largest_t is None
        require(fits, f"losses.{term}.largest_t", self.largest_t, f"{rule} none")

    def frozen(self) -> Weights:
        """The weights of the file."""
        return read_once(type(self).opener, Path(self.file), f"losses.{self.term}.file")


class Seen(NamedTuple):
    """What the network is shown of a batch, and how much each picture counts."""

    x0_hat: Pictures
    x0: Pictures
    cond: Pictures
    weight: Float[Array, " batch"]


def seen(config: FrozenTermConfig, sample: LossSample, aux: Mapping[str, Any]) -> Seen:
    """The pictures of a batch, decoded where diffusion works on a codec's states, as they are, not clamped.

    Where a picture does not count, x0 takes the place of x0_hat, so that nothing that is not finite comes of it.
    """
    decode = aux.get(DECODE, lambda states: states)
    weight = noise_weight(config, sample)
    counts = (weight > 0.0)[:, None, None, None]
    x0_hat = jnp.where(counts, sample.x0_hat, sample.x0)
    cond = sample.cond[..., : sample.x0.shape[-1]]
    return Seen(decode(x0_hat), decode(sample.x0), decode(cond), weight)


def noise_weight(config: FrozenTermConfig, sample: LossSample) -> Float[Array, " batch"]:
    """How much each picture counts, 0 to 1; SNR / (1 + SNR) is signal² / (signal² + noise²)."""
    weight = jnp.ones(sample.t.shape, sample.x0.dtype)
    if config.weighting == "snr":
        signal, noise = (jnp.square(level[:, 0, 0, 0]) for level in (sample.levels.signal, sample.levels.noise))
        both = signal + noise
        weight = jnp.where(both > 0.0, signal / jnp.where(both > 0.0, both, 1.0), 0.0)
    return weight if config.largest_t is None else jnp.where(sample.t <= config.largest_t, weight, 0.0)
