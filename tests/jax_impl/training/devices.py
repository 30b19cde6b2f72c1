"""Some steps on several counts of simulated devices, in a process of its own: `python -m … WHAT`, prints JSON.

How many devices a process has, and whether it computes in float64, is decided before JAX starts.
"""

from __future__ import annotations

import contextlib
import functools
import json
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_impl.config.data import AugmentConfig, DataConfig
from jax_impl.config.tree import Config, OptimConfig, TrainConfig
from jax_impl.data.loader import Pairs
from jax_impl.diffusion.losses.hybrid import HybridConfig
from jax_impl.diffusion.losses.lpips import LpipsConfig
from jax_impl.diffusion.losses.registry import LossConfig
from jax_impl.model.seed_unet import SeedModelConfig
from jax_impl.model.unet import UNetModelConfig
from jax_impl.training.batches import Drawn, draw_batch
from jax_impl.training.checkpoint import restore
from jax_impl.training.feed import open_feed
from jax_impl.training.mesh import make_mesh, put_state, state_sharding
from jax_impl.training.objective import Problem
from jax_impl.training.optim import learning_rate, make_optimizer
from jax_impl.training.retention import Retention
from jax_impl.training.state import TrainState, to_arrays, with_params
from jax_impl.training.step import make_train_step, update
from jax_impl.training.writer import save
from tests.drawing import drawn
from tests.torch_ref.perceptual_networks import random_alexnet, write_lpips

STEPS, BATCH, SIDE = 20, 8, 8
FEW = 3
"""Steps of the two cases that are always tried."""
MODELS = {
    "seed": SeedModelConfig(width=8),
    "unet": UNetModelConfig(width=32, groups=4, multipliers=(1,), blocks=1),
    "frozen": UNetModelConfig(width=32, groups=4, multipliers=(1,), blocks=1),
}
"""The last one has a loss term with frozen weights too."""


class Run(NamedTuple):
    """Weights, statistics and average in the end, as one vector, and a step's arguments on each device."""

    end: np.ndarray
    argument_bytes: int
    state: TrainState


@functools.cache
def losses(model: str) -> tuple[LossConfig, ...]:
    if model != "frozen":
        return (HybridConfig(),)
    folder = Path(tempfile.mkdtemp())
    with contextlib.redirect_stdout(sys.stderr):
        file = write_lpips(folder, random_alexnet((2, 3, 3, 2, 2)))
    return HybridConfig(), LpipsConfig(file=str(file), size=31)


def setting(model: str, devices: int, fsdp: int = 1, accumulate: int = 1) -> Config:
    return Config(
        data=DataConfig(size=SIDE, augment=AugmentConfig(perspective=0.1, rotation=0.0, jitter_probability=0.0)),
        model=MODELS[model],
        losses=losses(model),
        optim=OptimConfig(learning_rate=1e-3, ema_decay=0.9, accumulate=accumulate),
        train=TrainConfig(batch_size=BATCH, devices=devices, fsdp_devices=fsdp),
    )


def parts(config: Config) -> tuple[Problem, Any, Callable, TrainState]:
    schedule = learning_rate(config.optim, STEPS, STEPS)
    optimizer = make_optimizer(config.optim, schedule)
    network, params, stats = drawn(config)
    start = jax.jit(partial(with_params, config=config, optimizer=optimizer))
    state = start(params, stats, key=jax.random.key(0))
    if jax.config.jax_enable_x64:
        state = jax.tree.map(doubled, state)
    return Problem.of(network, config), optimizer, schedule, state


def doubled(leaf: jax.Array) -> jax.Array:
    """In float64 where it is a float; by numpy, since JAX would compile a program for every shape."""
    return jnp.asarray(np.asarray(leaf, np.float64)) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf


def pairs() -> Pairs:
    rng = np.random.default_rng(0)
    cond, x0 = (rng.integers(0, 256, (12, SIDE, SIDE, 3), np.uint8) for _ in range(2))
    return Pairs(tuple(map(str, range(12))), cond, x0)


def trained(config: Config, steps: int = STEPS) -> Run:
    mesh = make_mesh(config)
    problem, _, _, state = parts(config)
    state, total = put_state(state, mesh), np.int32(STEPS)
    step = make_train_step(problem, STEPS, mesh)
    with open_feed(pairs(), config, mesh) as feed:
        compiled = step.lower(state, *feed.batch(0), total).compile()  # type: ignore[attr-defined]
        for n in range(steps):
            # Compiled once: it refuses a state that is not divided as the first one was.
            state, _ = compiled(state, *feed.batch(n), total)
    return Run(vector(state), compiled.memory_analysis().argument_size_in_bytes, state)


def reversed_batches(config: Config) -> np.ndarray:
    """The same on one device, the rows of every batch turned round after they were drawn."""
    problem, optimizer, schedule, state = parts(config)

    @jax.jit
    def step(state: TrainState, pairs: Any, indices: jax.Array) -> TrainState:
        drawn = draw_batch(config, jax.random.fold_in(state.key, state.step), pairs, indices)
        return update(problem, optimizer, schedule, state, Drawn(*(a[::-1] for a in drawn[:4])))[0]

    with open_feed(pairs(), config) as feed:
        for n in range(STEPS):
            state = step(state, *feed.batch(n))
    return vector(state)


def vector(state: TrainState) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves((state.params, state.stats, state.ema))])


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Global norm of the difference, as a share of that of b."""
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def restored_elsewhere(state: TrainState) -> list[str]:
    """Save a state, restore it on one device and on eight; what differs in a bit or lies elsewhere than it should."""
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder), state, Retention(1))
        for devices, fsdp in ((1, 1), (8, 4)):
            mesh = make_mesh(setting("unet", devices, fsdp))
            back, _, _ = restore(Path(folder), state, mesh=mesh)
            placed = jax.tree.map(lambda a, s: a.sharding.is_equivalent_to(s, a.ndim), back, state_sharding(mesh, back))
            wrong += [] if all(jax.tree.leaves(placed)) else [f"placed otherwise on {devices}"]
            here, there = to_arrays(state), to_arrays(back)
            wrong += [f"{n} on {devices}" for n in here if not np.array_equal(np.asarray(here[n]), there[n])]
    return wrong


def double(cases: dict[str, list[tuple[int, int, int]]], steps: int) -> dict[str, Any]:
    """In float64: distances from one device by model, devices, fsdp_devices and parts; bytes of a step's arguments, and
    of all that is divided; and what a checkpoint of four devices has lost on others."""
    distances, sizes, divided, wrong = {}, {}, {}, []
    for model, meshes in cases.items():
        ends = []
        state = parts(setting(model, 1))[-1]
        # Every array as large as this is a kernel, and has a dimension that 8 divides.
        divided[model] = sum(leaf.nbytes for leaf in jax.tree.leaves(state) if leaf.size >= 4096)
        for case in meshes:
            run = trained(setting(model, *case), steps)
            ends.append(run.end)
            distances[f"{model} {case}"], sizes[f"{model} {case}"] = distance(run.end, ends[0]), run.argument_bytes
            if case[0] == 4:
                wrong = restored_elsewhere(run.state)
    return {"distances": distances, "sizes": sizes, "divided": divided, "restored": wrong}


def single() -> dict[str, float]:
    """In float32: distances of the seed network, which has BatchNorm, from one device."""
    one = trained(setting("seed", 1)).end
    found = {f"{n} devices": distance(trained(setting("seed", n)).end, one) for n in (2, 4, 8)}
    return found | {"reversed": distance(reversed_batches(setting("seed", 1)), one)}


if __name__ == "__main__":
    few = {"seed": [(1, 1, 1), (8, 2, 1)], "unet": [(1, 1, 1), (4, 2, 2)]}
    rest = {"seed": [(1, 1, 1), (2, 1, 1), (4, 1, 1), (8, 1, 1)], "unet": [(1, 1, 1), (2, 1, 1), (8, 2, 1), (8, 8, 1)]}
    rest["frozen"] = [(1, 1, 1), (8, 1, 1), (4, 2, 2)]
    run = {"few": lambda: double(few, FEW), "all": lambda: double(rest, STEPS), "single": single}
    print(json.dumps(run[sys.argv[1]]()))
