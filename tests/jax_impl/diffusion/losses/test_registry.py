"""Terms of a user's own, alone and together, in training and in validation, and what they say of parts of a batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_impl.config.arguments import parse
from jax_impl.config.as_json import from_json, to_json
from jax_impl.config.data import DataConfig
from jax_impl.config.tree import Config
from jax_impl.diffusion.losses.hybrid import HybridConfig
from jax_impl.diffusion.losses.registry import (
    LOSSES,
    LossConfig,
    Losses,
    LossSample,
    Parts,
    Term,
    remarks_on_parts,
)
from jax_impl.diffusion.process import Levels
from jax_impl.model.network import build
from jax_impl.model.unet import UNetModelConfig
from jax_impl.training.batches import Drawn, to_unit
from jax_impl.training.interfaces import Batch
from jax_impl.training.objective import Problem, diffusion_loss, make_validation_loss


@dataclass(frozen=True)
class SortedConfig(LossConfig):
    """The largest errors of the batch, of whatever pictures, and some noise of its key."""

    term: Literal["sorted"] = "sorted"
    share: float = 0.5
    jitter: float = 0.0
    over_batch: ClassVar[bool] = True
    on_parts: ClassVar[str] = "each part of the batch is sorted by itself; several devices sort the whole batch"

    def create(self) -> Term:
        def term(sample: LossSample, key: jax.Array, aux: Mapping[str, Any]) -> tuple[jax.Array, Parts]:
            errors = jnp.sort(jnp.square(sample.x0_hat - sample.x0).ravel())
            largest = jnp.mean(errors[int(len(errors) * (1 - self.share)) :])
            noise = self.jitter * jax.random.uniform(key)
            return largest + noise + aux.get("offset", 0.0), {"largest": largest, "mse": largest}

        return term


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    LOSSES.add("sorted", SortedConfig)
    try:
        yield
    finally:
        del LOSSES._entries["sorted"]


def sample(batch: int = 4) -> LossSample:
    output = jnp.asarray(np.random.default_rng(0).normal(size=(batch, 2, 2, 3)), jnp.float32)
    zero, one = jnp.zeros_like(output), jnp.ones((batch, 1, 1, 1))
    return LossSample(zero, zero, zero, jnp.zeros(batch, int), zero, output, zero, output, Levels(one, one, one))


KEY = jax.random.key(0)


def test_terms_are_added_by_their_weights_and_keep_their_parts() -> None:
    alone = [Losses((config,))(sample(), KEY, {}) for config in (HybridConfig(), SortedConfig())]
    (hybrid, hybrid_parts), (largest, largest_parts) = alone
    assert hybrid.shape == (4,) and largest.shape == ()
    assert set(hybrid_parts) == {"loss", "mse", "mae"} and set(largest_parts) == {"loss", "mse", "largest"}
    value, parts = Losses((HybridConfig(weight=2.0), SortedConfig(weight=0.5)))(sample(), KEY, {})
    np.testing.assert_allclose(value, 2.0 * hybrid + 0.5 * largest, rtol=1e-6)
    assert set(parts) == {"loss", "hybrid", "mse", "mae", "sorted", "largest", "mse_2"}
    assert float(parts["loss"]) == pytest.approx(float(jnp.mean(value)))
    assert float(parts["mse"]) == pytest.approx(float(hybrid_parts["mse"]))
    assert float(parts["mse_2"]) == pytest.approx(float(largest))


def test_every_term_has_a_key_of_its_own_and_what_the_stage_gives() -> None:
    both = Losses((SortedConfig(jitter=1.0), SortedConfig(jitter=1.0)))
    _, parts = both(sample(), KEY, {})
    assert float(parts["sorted"]) != float(parts["sorted_2"])
    _, again = both(sample(), KEY, {"offset": 3.0})
    assert float(again["sorted"] - parts["sorted"]) == pytest.approx(3.0, abs=1e-5)


def test_a_term_over_the_batch_says_what_becomes_of_it() -> None:
    configs = (HybridConfig(), SortedConfig())
    assert remarks_on_parts(configs, accumulate=1, devices=1) == []
    for accumulate, devices in ((2, 1), (1, 4)):
        (remark,) = remarks_on_parts(configs, accumulate, devices)
        assert remark == f"loss sorted: {SortedConfig.on_parts}"
    with pytest.raises(TypeError, match="say in on_parts"):
        type("Silent", (LossConfig,), {"over_batch": True})


def test_it_is_named_on_the_command_line_and_in_json() -> None:
    args = parse(["tiny", "--losses", "hybrid", '{"term": "sorted", "share": 0.25, "weight": 0.5}'])
    assert args.losses == (HybridConfig(), SortedConfig(share=0.25, weight=0.5))
    assert from_json(to_json(args.settings())).losses == args.losses


def test_training_and_validation_have_one_loss() -> None:
    config = Config(
        data=DataConfig(size=8),
        model=UNetModelConfig(width=4, groups=2, multipliers=(1,), blocks=1, patch=2),
        losses=(SortedConfig(jitter=0.1),),
    )
    config = replace(config, train=replace(config.train, batch_size=4))
    network, params, stats = build(config, KEY)
    problem = Problem.of(network, config)
    rng = np.random.default_rng(0)
    pairs = Batch(*(rng.integers(0, 256, (4, 8, 8, 3), np.uint8) for _ in range(2)))
    cond, x0 = to_unit(pairs.cond), to_unit(pairs.x0)
    t, eps = jnp.asarray([10, 300, 600, 800]), jax.random.normal(KEY, x0.shape)
    loss, (parts, _) = jax.jit(partial(diffusion_loss, problem))(params, stats, Drawn(cond, x0, t, eps), KEY)
    assert set(parts) == {"loss", "largest", "mse"}
    assert float(parts["largest"]) < float(loss) <= float(parts["largest"]) + 0.1
    first = make_validation_loss(problem)(params, stats, pairs)
    assert first == make_validation_loss(problem)(params, stats, pairs)
    hybrid = make_validation_loss(problem._replace(losses=Losses((HybridConfig(),))))(params, stats, pairs)
    assert first > 0.0 and first != hybrid
