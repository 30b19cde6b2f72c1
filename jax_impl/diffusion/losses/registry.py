"""What a loss term is, the registry LOSSES, and the sum of the terms of a run.

A term is made by `create()` of its settings, a `LossConfig`, and called as `term(sample, key, aux) -> (value, parts)`:

- `sample`: a `LossSample`, all there is to know of a batch that passed through the network;
- `key`: a PRNG key for what is random in the term; in validation it is always the same;
- `aux`: frozen weights and other networks by name, given by the stage of training; empty where it gives none;
- `value`: (batch,), one loss for each picture, or a scalar for the whole batch;
- `parts`: what to log, by name, scalars or (batch,).

Training and validation call the same terms. A term whose value is no mean over pictures, such as one that sorts over
the batch, sets `over_batch` and says in `on_parts` what optim.accumulate and several devices do to it: with
accumulation it gets one part of the batch after the other; with several devices the whole batch, as on one device.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from jax_impl.config import tagged
from jax_impl.config.checks import require
from jax_impl.diffusion.process import Levels
from jax_impl.shapes import Cond, Features, RandomKey, Timesteps

Parts = dict[str, jax.Array]


FROZEN, DECODE = "frozen", "decode"
"""Of `aux`: the frozen weights that the term's settings read; and a function from states of the run's codec to
pictures, absent where states are pictures."""
REALISM = "realism"
"""Of `aux`: how realistic each picture is to be, (batch,), 0 to 1."""


def by_realism(at_mean: float, aux: Mapping[str, Any]) -> jax.Array | float:
    """What a weight is multiplied by: `at_mean` at realism 0, 1 at realism 1, in between on a logarithmic scale.

    1 where the stage gives no realism.
    """
    return at_mean ** (1.0 - aux[REALISM]) if REALISM in aux else 1.0


class LossSample(NamedTuple):
    """A batch after the network; pictures (batch, height, width, channels), t integers (batch,)."""

    cond: Cond
    """The guiding pictures as the network takes them, (batch, height, width, 3 or 5)."""
    x0: Features
    x_t: Features
    t: Timesteps
    noise: Features
    output: Features
    """What the network says."""
    target: Features
    """What it should say."""
    x0_hat: Features
    """The clean pictures that `output` stands for, unclamped; far from x0 where the process makes it so."""
    levels: Levels


@runtime_checkable
class Term(Protocol):
    """A loss term, see the module's docstring."""

    def __call__(self, sample: LossSample, key: RandomKey, aux: Mapping[str, Any], /) -> tuple[jax.Array, Parts]: ...


@dataclass(frozen=True)
class LossConfig(ABC):
    """Settings of a loss term; a subclass names itself in `term` and is added to LOSSES under that name."""

    term: str
    weight: float = 1.0
    """What the term's value is multiplied by in the sum of all terms."""

    over_batch: ClassVar[bool] = False
    """Whether the value is no mean over pictures."""
    on_parts: ClassVar[str] = ""
    """For a term over the batch: what accumulation and several devices do to it, a sentence."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Names in `aux` that the term cannot do without: a stage of training has to give them."""

    def __init_subclass__(cls) -> None:
        if cls.over_batch and not cls.on_parts:
            raise TypeError(f"{cls.__name__} is over_batch: say in on_parts what accumulation and devices do to it")

    def __post_init__(self) -> None:
        require(self.weight >= 0.0, f"losses.{self.term}.weight", self.weight, "choose 0 or more")

    def check(self, config: Any) -> None:
        """Raise UserError where the term cannot do what the settings of a run ask for; called when these are made."""
        return  # Most can.

    def frozen(self) -> Mapping[str, jax.Array]:
        """Frozen weights of the term, from files that its settings name: the term gets them as `aux[FROZEN]`.

        Read before a run starts; compiled programs take them as an argument. Raises UserError where that cannot be.
        """
        return {}

    @abstractmethod
    def create(self) -> Term:
        """The term."""


LOSSES = tagged.registry(LossConfig, "term", "loss term")


class Losses:
    """The weighted sum of a run's terms; called as a term is."""

    def __init__(self, configs: Sequence[LossConfig]) -> None:
        self._terms = [(config, config.create()) for config in configs]

    def frozen(self) -> tuple[Mapping[str, jax.Array], ...]:
        """The frozen weights of each term."""
        return tuple(config.frozen() for config, _ in self._terms)

    def __call__(self, sample: LossSample, key: RandomKey, aux: Mapping[str, Any]) -> tuple[jax.Array, Parts]:
        """The value, (batch,) where any term's is, else a scalar; and means: `loss`, the sum, and each term's parts.

        With several terms each one's value is a part too, by its name. A name that an earlier term has gets the
        number of its term. `aux[FROZEN]`, if it is there, is what `frozen` gives; each term gets its own part.
        """
        total, parts = jnp.zeros((), sample.x0.dtype), {}
        for number, (config, term) in enumerate(self._terms):
            own = {**aux, FROZEN: aux[FROZEN][number]} if FROZEN in aux else aux
            value, found = term(sample, jax.random.fold_in(key, number), own)
            total = total + config.weight * value
            if len(self._terms) > 1:
                found = {config.term: value, **found}
            for name, part in found.items():
                parts[f"{name}_{number + 1}" if name in (*parts, "loss") else name] = jnp.mean(part)
        return total, {"loss": jnp.mean(total), **parts}


def remarks_on_parts(configs: Sequence[LossConfig], accumulate: int, devices: int) -> list[str]:
    """What to say to the user before a run in so many parts of a batch, on so many devices."""
    if accumulate == 1 and devices == 1:
        return []
    return [f"loss {config.term}: {config.on_parts}" for config in configs if config.over_batch]
