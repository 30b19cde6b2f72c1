"""What tests of training share: a state drawn at random, the run of a module's settings, and a signal at a batch."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_impl.config.data import DataConfig
from jax_impl.config.tree import Config, OptimConfig
from jax_impl.data.loader import Pairs, load
from jax_impl.model.seed_unet import SeedModelConfig
from jax_impl.train import train
from jax_impl.training import feed as feed_module
from jax_impl.training.optim import learning_rate, make_optimizer
from jax_impl.training.state import TrainState, outline
from tests.conftest import Once


@pytest.fixture(scope="session")
def make_state() -> Callable[..., TrainState]:
    """`make_state(step=0, width=2, ema=0.9)`: a state of the seed network after that many steps."""

    @cache
    def template(width: int, ema: float) -> TrainState:
        config = Config(data=DataConfig(size=16), model=SeedModelConfig(width=width), optim=OptimConfig(ema_decay=ema))
        return outline(config, make_optimizer(config.optim, learning_rate(config.optim, 1, 1)))[1]

    def make(step: int = 0, width: int = 2, ema: float = 0.9) -> TrainState:
        rng = np.random.default_rng(width)

        def draw(leaf: jax.ShapeDtypeStruct) -> jax.Array:
            if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
                return jax.random.key(7)
            return jnp.asarray(np.asarray(rng.random(leaf.shape), leaf.dtype))

        return dataclasses.replace(jax.tree.map(draw, template(width, ema)), step=jnp.asarray(step, jnp.int32))

    return make


@pytest.fixture(scope="module")
def pairs(config: Config) -> tuple[Pairs, Pairs]:
    """The pairs of the module's `config`, and those that are held out."""
    return load(config.data, "train"), load(config.data, "val")


@pytest.fixture(scope="module")
def unbroken(request: pytest.FixtureRequest, config: Config, pairs: tuple[Pairs, Pairs], once: Once) -> Path:
    """The whole run of the module's `config`. Read it, don't change it."""

    def make(folder: Path) -> None:
        assert train(config, folder / "run", *pairs) == 0

    return once(f"{request.module.__name__}_run", make) / "run"


StopAt = Callable[[int], AbstractContextManager[None]]


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> StopAt:
    """`with stop_at(5):` training gets SIGTERM where it asks for its fifth batch."""

    @contextmanager
    def stopping(batch: int) -> Iterator[None]:
        left, batch_indices = batch, feed_module.batch_indices

        def signalling(*args: int) -> np.ndarray:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGTERM)
            return batch_indices(*args)

        with monkeypatch.context() as patch:
            patch.setattr(feed_module, "batch_indices", signalling)
            yield

    return stopping
