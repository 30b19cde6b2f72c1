"""The same briefly trained weights in JAX, PyTorch and onnxruntime."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from export.edge.artifact import Artifact, open_artifact
from export.to_onnx import export
from jax_impl.config import Config, SeedModelConfig
from jax_impl.config_json import to_json
from jax_impl.data.loader import batch_indices, load
from jax_impl.diffusion.schedule import Levels, alphas_cumprod
from jax_impl.model.network import Network, Tree, build, flatten
from jax_impl.presets import PRESETS
from jax_impl.training.optim import learning_rate, make_optimizer
from jax_impl.training.state import with_params
from jax_impl.training.step import Batch, Problem, make_train_step
from jax_impl.weights import write_bundle
from torch_ref.weights import Bundle, build_model, load_bundle, to_jax

STEPS = {"seed": 900, "tiny": 200}
"""Enough that a sampled picture is not mostly at the clamp, where any two implementations agree."""


def narrow(preset: str) -> Config:
    """The preset with few channels and little data; everything else that decides what is computed stays its own."""
    config = PRESETS[preset]()
    augment = replace(config.data.augment, rotation=0.0, perspective=0.0, jitter_probability=0.0)
    size = 2 * config.model.size_multiple
    model = config.model
    return replace(
        config,
        data=replace(config.data, size=size, synthetic_pairs=32, augment=augment),
        model=replace(model, width=8) if isinstance(model, SeedModelConfig) else replace(model, width=16, groups=4),
        optim=replace(config.optim, learning_rate=6e-3, schedule="cosine"),
        train=replace(config.train, batch_size=8),
    )


def build_with_torch_weights(config: Config) -> tuple[Network, Tree, Tree]:
    """The network, with torch's fresh weights: JAX compiles for longer to draw its own than it then trains."""
    made = []

    def trees() -> tuple[Tree, Tree]:
        network, params, stats = build(config, jax.random.key(0))
        made.append(network)
        return params, stats

    shapes = jax.eval_shape(trees)
    tree = json.loads(to_json(config))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = to_jax(build_model(tree).state_dict(), tree)
    params, stats = (
        jax.tree.unflatten(jax.tree.structure(part), [jnp.asarray(weights[name]) for name in flatten(part)])
        for part in shapes
    )
    return made[0], params, stats


@dataclass(frozen=True)
class Trio:
    """One set of weights, three ways to run it."""

    problem: Problem
    params: Tree
    stats: Tree
    bundle: Bundle
    artifact: Artifact
    alphas_cumprod: np.ndarray
    cond: np.ndarray
    """Held-out guiding pictures, float32 (4, size, size, 3)."""

    @property
    def config(self) -> Config:
        return self.problem.config

    @property
    def tree(self) -> dict:
        """The configuration as torch_ref reads it."""
        return json.loads(to_json(self.config))

    def flat(self) -> dict[str, np.ndarray]:
        return {name: np.array(leaf) for name, leaf in (flatten(self.params) | flatten(self.stats)).items()}


@pytest.fixture(scope="session", params=["seed", "tiny"])
def trio(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trio:
    """Both presets' networks, narrow, trained for a few seconds on the built-in scenes."""
    config = narrow(request.param)
    schedule = learning_rate(config.optim, 1, STEPS[request.param])
    optimizer = make_optimizer(config.optim, schedule)
    network, params, stats = build_with_torch_weights(config)
    state = with_params(params, stats, config, optimizer, jax.random.key(0))
    alphas = alphas_cumprod(config.diffusion)
    problem = Problem(network, config, Levels.of(alphas))
    step = make_train_step(problem, optimizer, schedule)
    pairs, held_out = load(config.data, "train"), load(config.data, "val")
    resident = Batch(jnp.asarray(pairs.cond), jnp.asarray(pairs.x0))
    for n in range(STEPS[request.param]):
        state, _ = step(state, resident, jnp.asarray(batch_indices(0, n, len(pairs.names), 20, 8)))
    folder: Path = tmp_path_factory.mktemp("parity")
    write_bundle(folder / "model.safetensors", state.params, state.stats, alphas, config)
    bundle = load_bundle(folder / "model.safetensors")
    path, _ = export(bundle, folder / "artifact")
    cond = held_out.cond[:4].astype(np.float32) / 127.5 - 1.0
    return Trio(problem, state.params, state.stats, bundle, open_artifact(path), alphas, cond)
