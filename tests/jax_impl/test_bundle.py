"""AdamW's state beside a bundle: exact, told where it stands, and only where it belongs."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from export.edge.disk.files import weights_digest
from export.edge.errors import UserError
from jax_impl import bundle
from jax_impl.config.data import DataConfig
from jax_impl.config.tree import Config, OptimConfig
from jax_impl.data.loader import Pairs
from jax_impl.model.network import flatten
from jax_impl.model.seed_unet import SeedModelConfig
from jax_impl.runs.folder import DATA, TrainedRun, open_run, write_config, write_data
from jax_impl.runs.publishing import training_facts
from jax_impl.training.optim import learning_rate, make_optimizer
from jax_impl.training.report import METRICS_LOG, MetricsLog
from jax_impl.training.retention import Retention
from jax_impl.training.state import outline
from jax_impl.training.writer import save

STEPS, PER_EPOCH = 11, 4


def write_run(folder: Path, optim: OptimConfig) -> Path:
    """A run stopped in its third epoch, with state drawn at random: what it holds matters here, not how it came."""
    data = DataConfig(size=16, repeats=1)
    config = Config(data=data, model=SeedModelConfig(width=4, output_activation="tanh"), optim=optim)
    _, template = outline(config, make_optimizer(optim, learning_rate(optim, 1, 1)))
    rng = np.random.default_rng(0)

    def draw(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.key(0)
        values = rng.random(leaf.shape) if jnp.issubdtype(leaf.dtype, jnp.floating) else np.full(leaf.shape, STEPS)
        return jnp.asarray(values, leaf.dtype)

    state = jax.tree.map(draw, template)
    # No step of it was skipped.
    save(folder, dataclasses.replace(state, guard=jax.tree.map(jnp.zeros_like, state.guard)), Retention(1))
    write_config(folder, config)
    count = PER_EPOCH * config.train.batch_size
    pictures = np.zeros((count, 1, 1, 3), np.uint8)
    pairs = Pairs(tuple(map(str, range(count))), pictures, pictures)
    write_data(folder, pairs, pairs)
    log = MetricsLog(folder, 0)
    # The log may be ahead of the newest checkpoint, as after a crash.
    for step in range(1, STEPS + 3):
        log.write(step, {"epoch": step / PER_EPOCH, "loss": 1 / step})
        if step % PER_EPOCH == 0:
            log.write(step, {"epoch": step // PER_EPOCH, "train_loss": 10 / step})
    log.close()
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read it, don't change it."""
    return write_run(tmp_path_factory.mktemp("bundle") / "run", OptimConfig(decay_epochs=1))


@pytest.fixture(scope="module")
def trained(run: Path) -> TrainedRun:
    return open_run(run)


def with_optim(trained: TrainedRun, optim: OptimConfig) -> TrainedRun:
    return dataclasses.replace(trained, config=dataclasses.replace(trained.config, optim=optim))


def test_moments_and_where_the_run_stands(run: Path, trained: TrainedRun, tmp_path: Path) -> None:
    paths = tmp_path / "m.safetensors", tmp_path / "o.safetensors"
    bundle.main(["--run", str(run), "--output", str(paths[0]), "--optimizer", str(paths[1])])
    tensors = load_file(paths[1])
    # From the state as orbax keeps it, not as the bundle looks for it.
    leaves = jax.tree_util.tree_flatten_with_path(trained.state.opt_state)[0]
    for kind in ("mu", "nu"):
        stored = {jax.tree_util.keystr(path): leaf for path, leaf in leaves if f".{kind}" in jax.tree_util.keystr(path)}
        assert len(stored) == len(flatten(trained.state.params))
        for path, leaf in stored.items():
            name = path.partition(f".{kind}")[2].replace("']['", ".").strip("[']")
            array = tensors.pop(f"{kind}.{name}")
            assert array.dtype == np.float32
            np.testing.assert_array_equal(array, leaf)
    assert tensors == {}
    with safe_open(paths[0], framework="numpy") as file:
        digest = file.metadata()["weights_digest"]
    with safe_open(paths[1], framework="numpy") as file:
        metadata = file.metadata()
    assert json.loads(metadata["training"]) == {
        "step": 11, "epoch": 2, "loss": 10 / 8, "learning_rate": 1e-4 / 4, "initial_learning_rate": 1e-4,
        "weight_decay": 0.01, "betas": [0.9, 0.999], "eps": 1e-8, "schedule": "step", "decay_epochs": 1,
        "decay_factor": 0.5, "weights_digest": digest,
    }  # fmt: skip
    text = np.frombuffer(metadata["training"].encode(), np.uint8)
    assert metadata["digest"] == weights_digest({**load_file(paths[1]), "training": text})


@pytest.mark.parametrize(
    ("optim", "schedule", "rate"),
    [
        (OptimConfig(weight_decay=0.3), "step", 1e-4),
        (OptimConfig(warmup_steps=5, decay_epochs=2), "step", 5e-5),
        (OptimConfig(warmup_steps=20), "warm-up", 1e-4 * 12 / 20),
        (OptimConfig(schedule="cosine"), "cosine", 1e-4 * (1 + math.cos(math.pi * 11 / 200)) / 2),
    ],
)
def test_the_rate_of_the_step_to_come(
    optim: OptimConfig, schedule: str, rate: float, run: Path, trained: TrainedRun
) -> None:
    facts = training_facts(run, with_optim(trained, optim))
    assert facts["schedule"] == schedule
    assert facts["learning_rate"] == pytest.approx(rate, rel=1e-6)
    assert facts["weight_decay"] == optim.weight_decay


def test_a_rate_that_depends_on_the_length_of_a_run_needs_its_pairs(trained: TrainedRun, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", OptimConfig())
    (run / DATA).unlink()
    assert training_facts(run, trained)["schedule"] == "step"
    with pytest.raises(UserError, match=rf"{DATA} that says what it was trained on.*without --optimizer"):
        training_facts(run, with_optim(trained, OptimConfig(schedule="cosine")))


def test_averaged_weights_have_no_moments(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", OptimConfig(ema_decay=0.9))
    words = ["--run", str(run), "--output", str(tmp_path / "m.safetensors")]
    with pytest.raises(UserError, match=r"bundles averaged weights \(optim.ema_decay 0.9\).*leave out --optimizer"):
        bundle.main([*words, "--optimizer", str(tmp_path / "o.safetensors")])
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_log_that_does_not_know_the_checkpoint(trained: TrainedRun, tmp_path: Path) -> None:
    (tmp_path / METRICS_LOG).write_text('{"step": 10, "epoch": 2.5, "loss": 0.1}\n')
    with pytest.raises(UserError, match=r"has no line for step 11 in its metrics\.jsonl; bundle it without"):
        training_facts(tmp_path, trained)


@pytest.mark.parametrize(
    ("optimizer", "part"),
    [
        ("none/o.safetensors", "does not exist"),
        ("o.bin", "--optimizer .* must end in .safetensors"),
        ("m.safetensors", "is the file of --output"),
    ],
)
def test_bad_outputs_are_refused_first(run: Path, tmp_path: Path, optimizer: str, part: str) -> None:
    words = ["--run", str(run), "--output", str(tmp_path / "m.safetensors")]
    with pytest.raises(UserError, match=part):
        bundle.main([*words, "--optimizer", str(tmp_path / optimizer)])
    assert list(tmp_path.iterdir()) == []
