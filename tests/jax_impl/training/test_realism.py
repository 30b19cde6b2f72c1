"""The stage `realism`: trained, interrupted, resumed, bundled; and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import signal
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from export.edge.errors import UserError
from jax_impl import bundle, evaluate
from jax_impl.config.arguments import parse
from jax_impl.config.as_json import from_json, to_json
from jax_impl.config.tree import Config, OptimConfig
from jax_impl.data.loader import Pairs
from jax_impl.diffusion.losses.adversarial import AdversarialConfig
from jax_impl.diffusion.losses.anchor import AnchorConfig
from jax_impl.diffusion.losses.texture import TextureConfig
from jax_impl.diffusion.one_pass import OnePassConfig
from jax_impl.runs.bundles import open_bundle, read_bundle
from jax_impl.runs.folder import open_run
from jax_impl.train import train
from jax_impl.training.report import METRICS_LOG, read_log
from jax_impl.training.stages.overfitting import OVERFITTING
from jax_impl.training.stages.realism import RealismState
from jax_impl.training.stages.realism_config import RealismStageConfig
from jax_impl.training.stages.registry import DenoisingStageConfig
from jax_impl.training.state import to_arrays
from tests.jax_impl.training.conftest import StopAt
from torch_ref.weights import load_bundle

SmallConfig = Callable[..., Config]
TERMS = (
    TextureConfig(weight=2.0, directions=4),
    AnchorConfig(weight=0.3, end=0.1),
    AdversarialConfig(weight=0.5, width=2, penalty_every=2),
)


@pytest.fixture(scope="module")
def config(small_config: SmallConfig) -> Config:
    return dataclasses.replace(
        small_config(epochs=2, sample_steps=1),
        diffusion=OnePassConfig(slider=True),
        stages=(DenoisingStageConfig(epochs=1), RealismStageConfig(losses=TERMS)),
    )


@pytest.fixture(scope="module")
def weights(unbroken: Path, once: Callable[..., Path]) -> Path:
    """The bundle of the whole run."""
    path = "model.safetensors"
    made = once("realism_bundle", lambda folder: bundle.main(["--run", str(unbroken), "--output", str(folder / path)]))
    return made / path


def state_of(run: Path) -> RealismState:
    state = open_run(run).state
    assert isinstance(state, RealismState)
    return state


def test_both_networks_move_and_the_mean_one_stays(unbroken: Path, config: Config) -> None:
    state = state_of(unbroken)
    mean = jax.tree.leaves(state.mean[0])
    assert int(state.step) == 6 and int(state.guard.skipped) == 0
    assert any(
        np.abs(np.asarray(a) - b).max() > 1e-5 for a, b in zip(jax.tree.leaves(state.network.params), mean, strict=True)
    )
    fresh = config.stages[1].create(config).init({}, jax.random.key(1)).discriminator
    assert jax.tree.structure(fresh) == jax.tree.structure(state.discriminator)
    log = [record for record in read_log(unbroken) if record.get("stage") == 1 and "loss" in record]
    assert {"texture", "anchor", "adversarial", "from_mean", "discriminator", "score_lead", "penalty"} <= log[0].keys()
    assert log[0]["from_mean"] < log[-1]["from_mean"]
    first = log[0]
    assert {record["anchor"] / record["from_mean"] for record in log} != {1.0}  # Each step has its own realism.
    total = 2.0 * first["texture"] + 0.3 * first["anchor"] + 0.5 * first["adversarial"]
    assert first["loss"] == pytest.approx(total, rel=1e-5)
    ends = [record for record in read_log(unbroken) if "val_loss" in record]
    assert [OVERFITTING in record for record in ends] == [False, True, True]
    assert {"score_training", "score_held_out", "score_generated"} <= ends[-1].keys()


def test_a_killed_run_resumes_to_the_bit(
    config: Config, pairs: tuple[Pairs, Pairs], unbroken: Path, tmp_path: Path, stop_at: StopAt
) -> None:
    """Stopped in the middle of the second stage's first epoch."""
    with stop_at(5):
        assert train(config, tmp_path / "run", *pairs) == signal.SIGTERM
    assert 0 < int(state_of(tmp_path / "run").step) < 6
    assert train(config, tmp_path / "run", *pairs, resume=True) == 0
    left_arrays, right = to_arrays(open_run(tmp_path / "run").state), to_arrays(open_run(unbroken).state)
    assert left_arrays.keys() == right.keys()
    for name, array in left_arrays.items():
        np.testing.assert_array_equal(array, right[name], err_msg=name)
    assert (tmp_path / "run" / METRICS_LOG).read_text() == (unbroken / METRICS_LOG).read_text()


def test_the_bundle_holds_the_denoiser_alone_and_starts_without_noise(weights: Path) -> None:
    held = read_bundle(weights)
    assert held.networks.keys() == {"denoiser"} and held.published.alphas_cumprod is None
    plan = (held.published.tables or {})["one-pass"][1]
    assert (plan.t.tolist(), plan.start_from_noise, plan.x0_from_output.tolist()) == ([899], 0.0, [1.0])
    assert plan.mean_t is not None and plan.mean_t.tolist() == [999]
    theirs = load_bundle(weights)
    assert theirs.tables is not None and theirs.tables["one-pass"][1].start_from_noise == 0.0
    problem, _, _ = open_bundle(weights)
    assert problem.process.plan(1, "one-pass").start_from_noise == 0.0


def test_an_evaluation_draws_the_line_of_the_slider(unbroken: Path, tmp_path: Path) -> None:
    words = ["--run", str(unbroken), "--output-dir", str(tmp_path / "e"), "--realism-curve", "0", "1"]
    evaluate.main([*words, "--data.synthetic-pairs", "6", "--data.synthetic-val-pairs", "3"])
    report = json.loads((tmp_path / "e/evaluation.json").read_text())
    mean, sharp = report["realism_curve"]
    assert (mean["realism"], sharp["realism"]) == (0.0, 1.0) and mean["metrics"] != sharp["metrics"]
    assert sharp["metrics"] == report["methods"]["model"]["metrics"]
    assert "model by realism (one-pass)" in (tmp_path / "e/evaluation.md").read_text()
    with pytest.raises(UserError, match=r"realism 1\.5 is outside"):
        evaluate.main([*words[:3], str(tmp_path / "f"), "--realism", "1.5"])
    assert not (tmp_path / "f").exists()


def test_the_stage_alone_starts_from_a_bundle(
    config: Config, pairs: tuple[Pairs, Pairs], weights: Path, tmp_path: Path
) -> None:
    alone = dataclasses.replace(config, stages=(RealismStageConfig(epochs=1, losses=(TERMS[1],)),))
    with pytest.raises(UserError, match="stage realism starts from a trained network: add --init-from"):
        train(alone, tmp_path / "none", *pairs)
    assert not (tmp_path / "none" / "config.json").exists()
    assert train(alone, tmp_path / "run", *pairs, init_from=weights) == 0
    state = state_of(tmp_path / "run")
    assert state.discriminator == {}
    published = read_bundle(weights).weights
    np.testing.assert_array_equal(state.mean[0]["stem"]["kernel"], published["stem.kernel"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"diffusion": None}, "diffusion.process is 'gaussian': the stage realism trains one-pass"),
        ({"optim": OptimConfig(accumulate=2)}, "optim.accumulate is 2: the stage realism compares whole batches"),
        ({"losses": TERMS}, "losses is 'anchor': the stage denoising gives it no mean, progress"),
        ({"stages": (RealismStageConfig(losses=(TextureConfig(weight=0.0),)),)}, "give one term a weight above 0"),
    ],
)
def test_what_it_refuses(config: Config, small_config: SmallConfig, changes: dict, message: str) -> None:
    if "diffusion" in changes:
        changes = {"diffusion": small_config().diffusion}
    with pytest.raises(UserError, match=message):
        dataclasses.replace(config, **changes)


def test_its_own_settings_are_checked() -> None:
    for settings, message in (
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"ema_decay": 1.0}, "ema_decay is 1.0"),
        ({"losses": ()}, "name at least one term"),
        ({"losses": (TERMS[0], TERMS[0])}, "each once"),
    ):
        with pytest.raises(UserError, match=message):
            RealismStageConfig(**settings)
    with pytest.raises(UserError, match=r"train\.sample_steps is 2: choose at most those of one-pass \(1\)"):
        parse(["sharp", "--train.sample-steps", "2"])


def test_settings_as_they_are_typed_and_stored() -> None:
    words = ["realism", "--stages", '{"stage": "realism", "losses": ["texture", {"term": "adversarial", "gamma": 1}]}']
    config = parse(words).settings()
    assert config.stages == (RealismStageConfig(losses=(TextureConfig(), AdversarialConfig(gamma=1.0))),)
    assert from_json(to_json(config)) == config


def test_the_preset_takes_the_network_of_the_bundle(weights: Path, config: Config) -> None:
    found = parse(["realism", "--init-from", str(weights), "--train.epochs", "3"]).settings()
    assert found.model == config.model and found.data.size == config.data.size
    assert found.diffusion == config.diffusion and found.stages == (RealismStageConfig(),)
